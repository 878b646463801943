import hashlib
from pathlib import Path

import pytest

from bigain.backbones.weight_files import check_revision, weights_path
from bigain.config import MiniBackboneConfig
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.launch.compose import compose_config


@pytest.mark.parametrize("name", ["mini_unet", "mini_dit"])
def test_what_ships_is_what_the_configuration_names(name: str) -> None:
    config = compose_config([f"backbone={name}"]).backbone
    assert isinstance(config, MiniBackboneConfig)
    check_revision(name, weights_path(name), config.revision)
    assert file_sha256(weights_path(name)).startswith(config.revision)


def test_other_weights_are_refused_by_their_own_revision(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"other")
    actual = hashlib.sha256(b"other").hexdigest()[:12]
    with pytest.raises(UserError, match=f"revision=000000000000: .* are {actual}; set"):
        check_revision("mini_dit", file, "000000000000")


def test_a_package_without_its_weights_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"mini_dit: .*none\.safetensors is missing; allowed: a"):
        check_revision("mini_dit", tmp_path / "none.safetensors", "0" * 12)
