"""Which runs share a calibration, and which files are refused."""

from pathlib import Path

import pytest

from bigain.config import ClassificationConfig, RunConfig
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.launch.compose import compose_config
from bigain.runs.calibrations import (
    calibration_id,
    calibration_path,
    errors_folder,
    need_calibration,
    read_calibration,
    write_calibration,
)
from bigain.runs.identity import run_id


def composed(folder: Path, *overrides: str) -> RunConfig:
    return compose_config([f"paths.results={folder}", "task.allocation=racing", *overrides])


def hash_of(config: RunConfig) -> str | None:
    return config.task_as(ClassificationConfig).of_race.calibration


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("dataset.limit=7", True),
        ("task.race.z=3", True),
        ("task.race.looks=[2,5]", True),
        ("task.trial_list=[2,20]", True),
        ("batch_size=4", True),
        ("operator=tome", False),
        ("backbone=mini_unet", False),
        ("task.trial_list=[5,10]", False),
        ("task.loss=l1", False),
        ("task.race.images=20", False),
        ("task.race.classes=4", False),
        ("seed=1", False),
        ("dtype=bfloat16", False),
    ],
)
def test_what_a_calibration_belongs_to(tmp_path: Path, override: str, same: bool) -> None:
    plain, other = composed(tmp_path), composed(tmp_path, override)
    assert (calibration_id(plain) == calibration_id(other)) is same


def test_calibrations_with_more_images_use_the_errors_of_those_with_fewer(tmp_path: Path) -> None:
    folders = {
        errors_folder(composed(tmp_path, *own))
        for own in ([], ["task.race.images=200"], ["dataset.limit=3"])
    }
    assert len(folders) == 1
    assert errors_folder(composed(tmp_path, "task.race.classes=4")) not in folders


def test_the_hash_of_the_file_is_part_of_the_name_of_the_run(tmp_path: Path) -> None:
    without = composed(tmp_path)
    path = write_calibration(without, {"covariance": [[1.0]]})
    config = composed(tmp_path)
    assert hash_of(without) is None
    assert hash_of(config) == file_sha256(path)[:12]
    assert run_id(config) != run_id(without)
    assert read_calibration(config)["covariance"] == [[1.0]]
    write_calibration(without, {"covariance": [[2.0]]})
    assert run_id(composed(tmp_path)) not in (run_id(config), run_id(without))
    with pytest.raises(UserError, match=f"task.race.calibration={hash_of(config)}: "):
        read_calibration(config)
    with pytest.raises(UserError, match=r"task\.race\.calibration=0123456789ab: .* allowed: "):
        composed(tmp_path, "task.race.calibration=0123456789ab")


def test_without_a_calibration_the_command_that_makes_it_is_named(tmp_path: Path) -> None:
    overrides = [f"paths.results={tmp_path}", "task.allocation=racing", "dataset.limit=3"]
    with pytest.raises(UserError) as caught:
        need_calibration(compose_config(overrides), overrides)
    assert str(caught.value).endswith(f"with: bigain calibrate {' '.join(overrides)}")
    need_calibration(compose_config(overrides[:1]), overrides[:1])


def test_the_calibration_of_another_run_is_refused(tmp_path: Path) -> None:
    other = write_calibration(composed(tmp_path, "operator=tome"), {})
    path = calibration_path(composed(tmp_path))
    path.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match="is the calibration"):
        read_calibration(composed(tmp_path))


def test_a_damaged_calibration_is_refused(tmp_path: Path) -> None:
    calibration_path(composed(tmp_path)).parent.mkdir()
    calibration_path(composed(tmp_path)).write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        read_calibration(composed(tmp_path))
