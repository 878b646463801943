"""Calibrating operators: files, hashes, refusals, and runs from them, on the mini DiT."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors import safe_open

from bigain.cli.calibrate import main
from bigain.config import RunConfig
from bigain.engine.build_calibrated import build_placed, check_calibrated
from bigain.engine.calibrate_operator import calibrate_operator
from bigain.engine.calibrate_stages import units_removed
from bigain.engine.run import run
from bigain.errors import UserError
from bigain.files import file_sha256
from bigain.launch.app import run_command_line
from bigain.launch.compose import compose_config
from bigain.operators import MaskTable, StageWeights
from bigain.operators.masks import branch_shares
from bigain.runs.check import check_published
from bigain.runs.collect import publish_run
from bigain.runs.identity import baseline_id, run_id
from bigain.runs.operator_calibrations import (
    measurements_folder,
    need_operator_calibration,
    planned_calibration,
)

SHORT = ["backbone=mini_dit", "task.trial_list=[1,2]", "task.keep_list=[3,1]", "operator.images=2"]
OPERATORS = ("dip_go", "mosaic_diff")


def composed(folder: Path, operator: str, *more: str) -> RunConfig:
    paths = [f"paths.results={folder / 'results'}", f"paths.cache={folder / 'cache'}"]
    return compose_config([f"operator={operator}", *SHORT, *paths, *more])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a calibration of both."""
    folder = tmp_path_factory.mktemp("made")
    for operator in OPERATORS:
        calibrate_operator(composed(folder, operator))
    return folder


def content_of(folder: Path, operator: str) -> dict[str, Any]:
    path = planned_calibration(composed(folder, operator))
    if operator == "dip_go":
        return dict(json.loads(path.read_text("utf-8")))
    with safe_open(path, framework="pt") as file:
        return dict(json.loads(file.metadata()["bigain"]))


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_hash_of_the_file_is_part_of_the_name(made: Path, operator: str) -> None:
    config = composed(made, operator)
    files = (made / "results" / "calibrations").iterdir()
    assert config.operator.calibration in {file_sha256(path)[:12] for path in files}
    assert run_id(config) != run_id(composed(made / "elsewhere", operator))
    # Images, seed and precision of a run are its own; so is what kind of run it is.
    for more in (["dataset.limit=7"], ["seed=1"], ["dtype=bfloat16"]):
        assert composed(made, operator, *more).operator.calibration == config.operator.calibration
    assert baseline_id(config) == run_id(compose_config(["operator=none", *SHORT[:3]]))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize(
    "more",
    [
        ["backbone=mini_unet"],
        ["operator.target=0.2"],
        ["operator.seed=1"],
        ["operator.images=3"],
        ["task.trial_list=[1,4]"],
        ["dataset=fashion_mosaic"],
    ],
)
def test_another_run_needs_another_calibration(made: Path, operator: str, more: list[str]) -> None:
    config = composed(made, operator, *more)
    assert config.operator.calibration is None
    line = rf"^operator={operator}: no calibration of mini_\w+ {operator} in .*; make it with"
    with pytest.raises(UserError, match=line):
        build_placed(config)
    with pytest.raises(UserError, match=rf"{line}: bigain calibrate operator={operator} seed=3$"):
        need_operator_calibration(config, [f"operator={operator}", "seed=3"])


def test_masks_are_what_the_file_says_and_meet_the_target(made: Path) -> None:
    content = content_of(made, "dip_go")
    operator, sites = build_placed(composed(made, "dip_go"))
    assert isinstance(operator, MaskTable)
    assert sites is None
    assert operator.counts == {250: 3, 750: 10}
    masks = torch.tensor([operator.masks[t] for t in sorted(operator.masks)])
    flops = content["flops"]
    counts = [operator.counts[t] for t in sorted(operator.counts)]
    shares = branch_shares(flops["branches"], flops["total"], counts)
    removed = float(shares[~masks].sum())
    assert removed == pytest.approx(content["removed"], abs=1e-6)
    assert 0.1 <= removed < 0.1 + float(shares[~masks].max())
    assert flops["total"] == 538738688
    assert len(content["image_ids"]) == 2


def test_weights_are_what_the_file_says_and_meet_the_target(made: Path) -> None:
    content = content_of(made, "mosaic_diff")
    operator, _ = build_placed(composed(made, "mosaic_diff"))
    assert isinstance(operator, StageWeights)
    # Four heads are coarse: one more in one stage is some per cent of all FLOPs.
    assert 0.1 <= content["removed"] < 0.16
    # Trials at 250 and 750: nothing is evaluated below 200.
    assert [operator.pattern(t) for t in sorted(operator.counts)] == [1, 2]
    for path, stages in operator.modules.items():
        for number, kept in enumerate(stages):
            own = content["kept"][number].get(path)
            assert (kept is None) == (own is None)
            if kept is not None:
                assert list(kept.numbers) == own
                assert kept.weight.dtype == torch.float16


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_calibration_that_is_there_is_kept_and_made_alike_again(
    made: Path, operator: str, tmp_path: Path
) -> None:
    there = calibrate_operator(composed(made, operator))
    assert there.computed == 0
    again = calibrate_operator(composed(tmp_path, operator))
    assert again.computed == 2
    assert again.path.read_bytes() == there.path.read_bytes()


def test_measurements_are_kept_image_by_image(made: Path) -> None:
    found = calibrate_operator(composed(made, "dip_go", "operator.images=3"))
    assert found.computed == 1
    found = calibrate_operator(composed(made, "dip_go", "operator.target=0.3"))
    assert found.computed == 0


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_run_does_what_the_calibration_says(made: Path, operator: str) -> None:
    """Its errors are not those of the baseline, and it is published with its calibration."""
    results, name = made / "results", {}
    for each in (operator, "none"):
        own = [] if each == "none" else SHORT[3:]
        config = compose_config(
            [
                *SHORT[:3],
                *own,
                f"operator={each}",
                "dataset.limit=2",
                f"paths.results={results}",
                f"paths.cache={made / 'cache'}",
            ]
        )
        name[each] = run(config, progress=False).run_id
    frames = {
        each: pd.read_csv(results / "runs" / own / "samples.csv") for each, own in name.items()
    }
    assert not (frames[operator]["scores"] == frames["none"]["scores"]).any()
    for each in name.values():
        publish_run(results, each)
    digest = composed(made, operator).operator.calibration
    (published,) = (results / "mini" / "calibrations").glob(f"{digest}.*")
    assert check_published(results)["mini"] >= 2
    text = published.read_bytes()
    published.write_bytes(text + b" ")
    with pytest.raises(UserError, match=rf"has the hash \w+, run {name[operator]} has {digest}"):
        check_published(results)
    published.write_bytes(text)


def test_images_and_weights_of_the_calibration_are_checked(made: Path) -> None:
    config = composed(made, "dip_go", "dataset.limit=999")
    content = content_of(made, "dip_go")
    weights = content["hashes"]
    check_calibrated(config, {1, 2}, weights)
    common = set(content["image_ids"][:1]) | {1}
    with pytest.raises(UserError, match=r"^dataset.limit=999: 1 of the 2 images are among the 2 "):
        check_calibrated(config, common, weights)
    with pytest.raises(UserError, match=r"was made with another mini_dit/model.safetensors"):
        check_calibrated(config, {1, 2}, dict.fromkeys(weights, "0"))
    with pytest.raises(UserError, match=r"^dataset.limit=999: 1 of the 999 images are among"):
        run(config, progress=False)


def test_a_damaged_or_foreign_file_is_refused(made: Path, tmp_path: Path) -> None:
    config = composed(tmp_path, "dip_go")
    folder = tmp_path / "results" / "calibrations"
    folder.mkdir(parents=True)
    own = calibrate_operator(composed(made, "dip_go")).path
    place = folder / own.name
    place.write_text(own.read_text("utf-8").replace(own.stem, "0" * 16), encoding="utf-8")
    with pytest.raises(UserError, match=r"is the calibration 0{16}; allowed: "):
        build_placed(composed(tmp_path, "dip_go"))
    place.write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"cannot be read .*force=true$"):
        build_placed(composed(tmp_path, "dip_go"))
    with pytest.raises(UserError, match=r"^operator.calibration=0{12}: "):
        composed(tmp_path, "dip_go", "operator.calibration='000000000000'")
    assert config.operator.calibration is None


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (["task=generation"], "task=generation: allowed: classification or efficiency"),
        (["task.allocation=racing"], "task.allocation=racing: allowed: staged"),
        (["compile=true"], "compile=true: allowed: false"),
        (["task=efficiency", "task.measure=time"], "task.measure=time: allowed: flops"),
        (["operator.trial_list=[5,10]"], "operator.trial_list=[5,10]: allowed: [5,20]"),
        (["backbone.sites.blocks=[0]"], "backbone.sites.blocks=[0]: allowed: no sites with"),
    ],
)
def test_what_a_calibration_does_not_cover_is_refused(overrides: list[str], line: str) -> None:
    with pytest.raises(UserError) as refused:
        compose_config(["operator=dip_go", "backbone=mini_dit", *overrides])
    assert str(refused.value).startswith(line)


def test_the_verb_makes_a_file_and_refuses_what_it_does_not_know(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [f"paths.results={tmp_path}", f"paths.cache={tmp_path}"]
    assert main(["operator=mosaic_diff", *SHORT, *paths]) == 0
    printed = capsys.readouterr().out
    assert "% of the FLOPs removed; 2 images measured" in printed
    with pytest.raises(UserError, match=r"^--choose-z: allowed: without it"):
        main(["--choose-z", "operator=mosaic_diff", *SHORT, *paths])
    with pytest.raises(UserError, match=r"^operator: allowed: only operators that are calibrated"):
        main(["-m", "operator=none,dip_go", *SHORT[:1], *paths])
    with pytest.raises(UserError, match=r"^operator.images=1000: allowed: .* 1 to 999"):
        main(["operator=dip_go", "backbone=mini_dit", "operator.images=1000", *paths])
    with pytest.raises(UserError) as refused:
        main(["operator=mosaic_diff", *SHORT, "operator.target=0.99", *paths])
    assert str(refused.value) == (
        "operator.target=0.99: allowed: a number from 0 to 0.6526, the share of heads and hidden "
        "units that may go"
    )


def test_a_target_that_cannot_be_met_is_refused_before_an_image_is_measured(
    tmp_path: Path,
) -> None:
    config = composed(tmp_path, "dip_go", "operator.target=0.9999")
    line = r"^operator\.target=0\.9999: allowed: a number from 0 to 0\.9\d+, the share of all "
    with pytest.raises(UserError, match=line):
        calibrate_operator(config)
    assert not list(measurements_folder(config, ()).parent.rglob("*.json"))


@pytest.mark.parametrize("operator", OPERATORS)
def test_a_dataset_without_a_training_split_keeps_its_last_images_and_its_names(
    made: Path, operator: str
) -> None:
    """The setting has no effect there: what was calibrated before it existed is found."""
    config = composed(made, operator)
    assert config.operator.arguments["split"] == "evaluated"
    plain = config.model_dump(mode="json")
    del plain["operator"]["split"]
    assert run_id(plain) == run_id(config)
    with pytest.raises(UserError) as refused:
        calibrate_operator(composed(made, operator, "operator.split=training"))
    assert str(refused.value).startswith("operator.split=training: allowed: evaluated, because no ")
    with pytest.raises(UserError, match=r"^operator\.split=train: allowed: evaluated, training"):
        calibrate_operator(composed(made, operator, "operator.split=train"))


@pytest.mark.parametrize("operator", OPERATORS)
@pytest.mark.parametrize("dataset", ["pets", "imagenet100", "imagenet1k"])
def test_a_dataset_with_a_training_split_takes_it_unless_told_otherwise(
    operator: str, dataset: str
) -> None:
    given = [f"operator={operator}", "backbone=sd20", f"dataset={dataset}"]
    assert compose_config(given).operator.trains_apart
    other = compose_config([*given, "operator.split=evaluated"])
    assert not other.operator.trains_apart
    assert run_id(other) != run_id(compose_config(given))


def test_one_image_is_not_many(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [f"paths.results={tmp_path}", f"paths.cache={tmp_path}"]
    assert main(["operator=dip_go", *SHORT[:3], "operator.images=1", *paths]) == 0
    assert capsys.readouterr().out.rstrip().endswith("; 1 image measured)")


@pytest.mark.parametrize(
    "line",
    ["operator.images=-1: allowed: an integer >= 1", "operator.seed=-1: allowed: an integer >= 0"],
)
@pytest.mark.parametrize("operator", OPERATORS)
def test_a_run_with_a_wrong_setting_is_refused_for_it_and_not_for_its_calibration(
    operator: str, line: str, tmp_path: Path
) -> None:
    setting = line.partition(":")[0]
    with pytest.raises(UserError) as refused:
        run_command_line([f"operator={operator}", setting, f"paths.results={tmp_path}"])
    assert str(refused.value) == line


@pytest.mark.parametrize(
    ("part", "units", "sparsity", "removed"),
    [
        *(("self", 4, 0.0, 0), ("self", 4, 0.2, 1), ("self", 2, 0.24, 0), ("self", 2, 0.8, 1)),
        *(("mlp", 192, 0.1, 19), ("mlp", 192, 0.8, 144), ("mlp", 5120, 0.8, 4096)),
    ],
)
def test_how_many_units_go(part: str, units: int, sparsity: float, removed: int) -> None:
    assert units_removed(part, units, sparsity) == removed
