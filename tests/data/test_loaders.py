import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from bigain.config import DatasetConfig
from bigain.data.layouts import LAYOUTS
from bigain.data.loaders import LOADERS, load_dataset
from bigain.errors import UserError
from bigain.testing.datasets import TINY, write_tiny

ROOT = Path(__file__).parents[2]
SHIPPED = {"fashion_mnist", "fashion_mosaic"}


def settings(name: str, root: Path, limit: int = 7) -> Any:
    plain = {"name": name, "limit": limit, "root": str(root)}
    return TypeAdapter[Any](DatasetConfig).validate_python(plain)


def test_every_dataset_of_the_configuration_has_a_loader() -> None:
    models = get_args(get_args(DatasetConfig)[0])
    names = {get_args(model.model_fields["name"].annotation)[0] for model in models}
    assert set(LOADERS) == names == {*SHIPPED, *TINY} == {*SHIPPED, *LAYOUTS}


@pytest.mark.parametrize("name", sorted(SHIPPED))
def test_what_ships_needs_no_root(name: str) -> None:
    plain = {"name": name, "limit": 7, "root": None}
    assert len(load_dataset(TypeAdapter[Any](DatasetConfig).validate_python(plain))) == 7


@pytest.mark.parametrize("name", TINY)
def test_the_settings_reach_the_dataset(name: str, tmp_path: Path) -> None:
    write_tiny(name, tmp_path)
    assert len(load_dataset(settings(name, tmp_path))) == 7
    with pytest.raises(UserError, match=r"dataset\.root="):
        load_dataset(settings(name, tmp_path / "nowhere"))


def test_what_needs_no_torchvision_does_not_load_it() -> None:
    code = (
        "import sys\n"
        "from bigain.launch.compose import compose_config\n"
        "from bigain.data.loaders import load_dataset\n"
        "for name in ('fashion_mnist', 'fashion_mosaic'):\n"
        "    config = compose_config([f'dataset={name}', 'dataset.limit=3'])\n"
        "    assert len(load_dataset(config.dataset)) == 3\n"
        "assert not {'torch', 'torchvision'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
