from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.runs.files import Evaluation
from bigain.runs.identity import run_id
from bigain.runs.images import RunImages, is_complete
from bigain.runs.store import RunStore

Make = Callable[..., RunConfig]
MakeRun = Callable[..., RunStore]
TASK = {
    "name": "generation",
    "sampler": "ddim",
    "steps": 5,
    "guidance_scale": 2.0,
    "images_per_forward": 8,
    "image_format": "png",
    "extractor": "mini",
    "extractor_weights": None,
    "reference": "split",
}


def generated(results: Path, config: RunConfig, hashes: dict[str, str]) -> RunStore:
    """A finished generation of four images."""
    store = RunStore(results, run_id(config))
    images = RunImages(store.folder, 4, "png")
    with store.open(config, range(4), {"hashes": hashes}) as session:
        for index in session.todo():
            sha256 = images.write(index, np.full((4, 4), index, dtype=np.uint8))
            session.append({"image_id": index, "sha256": sha256})
        session.finish(lambda records: Evaluation(records, []))
    return store


def test_a_run_without_files_of_its_own_is_complete(
    tmp_path: Path, make_config: Make, make_run: MakeRun
) -> None:
    config = make_config()
    assert is_complete(config, make_run(tmp_path, config))


def test_a_generation_is_complete_while_all_its_images_are_there(
    tmp_path: Path, make_config: Make
) -> None:
    config: RunConfig = make_config(task=TASK, dataset__limit=4)
    store = generated(tmp_path, config, {})
    assert is_complete(config, store)
    RunImages(store.folder, 4, "png").path(3).unlink()
    assert not is_complete(config, store)


def test_statistics_that_were_replaced_are_refused(tmp_path: Path, make_config: Make) -> None:
    path = tmp_path / "stats.npz"
    path.write_bytes(b"first")
    task: dict[str, Any] = {**TASK, "reference": str(path)}
    config: RunConfig = make_config(task=task, dataset__limit=4)
    store = generated(tmp_path, config, {"reference/fashion_mnist": file_sha256(path)})
    assert is_complete(config, store)
    path.write_bytes(b"second")
    with pytest.raises(UserError, match=r"^task\.reference=.*stats\.npz: holds other statistics"):
        is_complete(config, store)
    path.unlink()
    assert is_complete(config, store), "who has the result needs the file no longer"
