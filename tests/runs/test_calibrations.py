"""Which runs share a calibration, and which files are refused."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bigain.config import ClassificationConfig, RunConfig
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.launch.compose import compose_config
from bigain.runs.baselines import check_baseline
from bigain.runs.calibrations import (
    baseline_calibration,
    calibration_id,
    calibration_path,
    errors_folder,
    need_calibration,
    read_calibration,
    write_calibration,
)
from bigain.runs.check import check_published
from bigain.runs.collect import publish_runs
from bigain.runs.compare import compare_runs
from bigain.runs.files import METRICS
from bigain.runs.identity import baseline_id, run_id
from bigain.runs.store import RunStore
from bigain.testing.runs import evaluation_of

WHOLE = {"hashes": {}, "image_ids": [1], "order": [0], "fit": {}, "covariance": [[1.0]]}


def composed(folder: Path, *overrides: str) -> RunConfig:
    return compose_config([f"paths.results={folder}", "task.allocation=racing", *overrides])


def finished(folder: Path, config: RunConfig, provenance: Mapping[str, Any]) -> RunStore:
    """A finished race over one image."""
    store = RunStore(folder, run_id(config))
    record = {"image_id": 1, "label": 0, "prediction": 0, "correct": True, "scores": [0.0, 1.0]}
    record |= {"trials": [3, 2], "true_errors": None, "margin_mean": None, "margin_variance": None}
    record |= {"evaluations": 5, "rounds": 2, "spent": 0.01}
    with store.open(config, [1], provenance) as session:
        session.append({**record, "seconds": 0.1})
        assert session.finish(evaluation_of(config, folder))
    return store


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
        ("task.race.weights=spread", False),
        ("task.race.rule=t_test", True),
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
        for own in ([], ["task.race.images=200"], ["dataset.limit=3"], ["task.race.weights=spread"])
    }
    assert len(folders) == 1
    assert errors_folder(composed(tmp_path, "task.race.classes=4")) not in folders


def test_the_hash_of_the_file_is_part_of_the_name_of_the_run(tmp_path: Path) -> None:
    without = composed(tmp_path)
    path = write_calibration(without, WHOLE)
    config = composed(tmp_path)
    assert hash_of(without) is None
    assert hash_of(config) == file_sha256(path)[:12]
    assert run_id(config) != run_id(without)
    assert read_calibration(config)["covariance"] == [[1.0]]
    write_calibration(without, {**WHOLE, "covariance": [[2.0]]})
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


def test_calibrations_are_published_with_their_races_and_compared(tmp_path: Path) -> None:
    """Also that from before `force=true`, as long as it was published before."""
    first = write_calibration(composed(tmp_path), WHOLE)
    old, text = finished(tmp_path, composed(tmp_path), {}), first.read_bytes()
    publish_runs(tmp_path, "mini", [old.run_id])
    write_calibration(composed(tmp_path), {**WHOLE, "image_ids": [2]})
    new = finished(tmp_path, composed(tmp_path), {})
    publish_runs(tmp_path, "mini", [old.run_id, new.run_id])
    files = sorted((tmp_path / "mini" / "calibrations").iterdir())
    assert sorted(file_sha256(path)[:12] for path in files) == [path.stem for path in files]
    assert len(files) == 2
    assert text in [path.read_bytes() for path in files]
    assert check_published(tmp_path) == {"mini": 2}
    files[0].write_text("{}")
    with pytest.raises(UserError, match=f"{files[0].name}: has the hash "):
        check_published(tmp_path)
    files[0].unlink()
    with pytest.raises(UserError, match=f"{files[0].name}: is missing"):
        check_published(tmp_path)


def test_a_race_whose_calibration_is_gone_is_not_published(tmp_path: Path) -> None:
    path = write_calibration(composed(tmp_path), WHOLE)
    run = finished(tmp_path, composed(tmp_path), {})
    path.unlink()
    with pytest.raises(UserError, match=f"run {run.run_id}: its calibration "):
        publish_runs(tmp_path, "mini", [run.run_id])
    assert not (tmp_path / "mini").exists()


def test_races_of_one_grid_are_compared_whatever_stages_they_name(tmp_path: Path) -> None:
    write_calibration(composed(tmp_path), WHOLE)
    race = finished(tmp_path, composed(tmp_path), {}).run_id
    others = ["task.trial_list=[10,20]", "task.race.z=3"]
    other = finished(tmp_path, composed(tmp_path, *others), {}).run_id
    halving = ["task.trial_list=[5,10]", "task.race.rule=halving", "task.race.stages=[[3,5]]"]
    of_ten = finished(tmp_path, composed(tmp_path, *halving), {}).run_id
    assert compare_runs(tmp_path, race, other).n == 1
    with pytest.raises(UserError, match=r"^task\.trial_list=\[20\] in .* but \[10\] in "):
        compare_runs(tmp_path, race, of_ten)


def test_halving_needs_no_calibration(tmp_path: Path) -> None:
    overrides = [f"paths.results={tmp_path}", "task.allocation=racing", "task.race.rule=halving"]
    need_calibration(compose_config(overrides), overrides)
    config = composed(tmp_path, "operator=tome", "task.race.rule=halving")
    assert baseline_calibration(config) is None
    store = finished(tmp_path, composed(tmp_path, "task.race.rule=halving"), {})
    assert baseline_id(config, baseline_calibration(config)) == store.run_id


def test_the_calibration_of_another_run_is_refused(tmp_path: Path) -> None:
    other = write_calibration(composed(tmp_path, "operator=tome"), WHOLE)
    path = calibration_path(composed(tmp_path))
    path.write_bytes(other.read_bytes())
    with pytest.raises(UserError, match="is the calibration"):
        read_calibration(composed(tmp_path))


def test_a_damaged_calibration_is_refused(tmp_path: Path) -> None:
    calibration_path(composed(tmp_path)).parent.mkdir()
    calibration_path(composed(tmp_path)).write_text("{")
    with pytest.raises(UserError, match=r"cannot be read .* force=true"):
        read_calibration(composed(tmp_path))


@pytest.mark.parametrize("key", [*WHOLE, "calibration"])
def test_a_calibration_that_lacks_something_is_refused(tmp_path: Path, key: str) -> None:
    path = write_calibration(composed(tmp_path), WHOLE)
    path.write_text(json.dumps({k: v for k, v in json.loads(path.read_text()).items() if k != key}))
    with pytest.raises(UserError, match=f"has no {key}; make it again with `bigain calibrate`"):
        read_calibration(composed(tmp_path))


def test_a_calibration_that_is_no_object_is_refused(tmp_path: Path) -> None:
    write_calibration(composed(tmp_path), WHOLE).write_text("[1]")
    with pytest.raises(UserError, match="has no calibration; make it again"):
        read_calibration(composed(tmp_path))


def test_a_calibration_that_went_away_is_to_be_made_and_not_deleted(tmp_path: Path) -> None:
    write_calibration(composed(tmp_path), WHOLE)
    config = composed(tmp_path)
    calibration_path(config).unlink()
    with pytest.raises(UserError) as caught:
        read_calibration(config)
    assert "make it with `bigain calibrate`" in str(caught.value)
    assert "delete" not in str(caught.value)


def test_the_baseline_of_a_race_has_the_calibration_of_the_baseline(tmp_path: Path) -> None:
    for number, own in enumerate([[], ["operator=tome"]]):
        write_calibration(composed(tmp_path, *own), {**WHOLE, "image_ids": [number]})
    plain, merged = composed(tmp_path), composed(tmp_path, "operator=tome")
    found = [baseline_id(config, baseline_calibration(config)) for config in (plain, merged)]
    assert found == [run_id(plain)] * 2
    assert hash_of(plain) != hash_of(merged)
    with RunStore(tmp_path, run_id(plain)).open(plain, [1], {"hashes": {"weights": "a"}}):
        pass
    with RunStore(tmp_path, run_id(merged)).open(merged, [1], {}):
        pass
    assert RunStore(tmp_path, run_id(merged)).manifest()["baseline_id"] == run_id(plain)


def test_a_race_whose_baseline_has_other_weights_is_refused(tmp_path: Path) -> None:
    for number, own in enumerate([[], ["operator=tome"]]):
        write_calibration(composed(tmp_path, *own), {**WHOLE, "image_ids": [number]})
    plain, merged = composed(tmp_path), composed(tmp_path, "operator=tome")
    finished(tmp_path, plain, {"hashes": {"weights/a": "1"}})
    check_baseline(merged, tmp_path, {"weights/a": "1"})
    with pytest.raises(UserError, match=f"run {run_id(plain)}, was made with another weights/a"):
        check_baseline(merged, tmp_path, {"weights/a": "2"})


def test_a_race_has_all_its_metrics_when_it_ends(tmp_path: Path) -> None:
    """Nothing is computed again when it is published: it has no error to compare."""
    for own in ([], ["operator=tome"]):
        write_calibration(composed(tmp_path, *own), WHOLE)
    merged = composed(tmp_path, "operator=tome")
    path = finished(tmp_path, merged, {}).folder / METRICS
    text = path.read_text().replace(",acc1,", ",acc2,")
    path.write_text(text)
    publish_runs(tmp_path, "mini", [run_id(merged)])
    assert path.read_text() == text
    assert ",race_spent," in text
