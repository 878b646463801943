"""Every backbone with every dataset, operator and task: it composes, or says why it cannot.

The tasks are the files of `configs/task`, so a new one is checked against the same table.  A
dataset is refused because of the backbone or the task, an operator because of the backbone.  So the
fast test takes every dataset with one operator, and every operator with one dataset.  The slow test
gives Hydra every command line.
"""

import itertools
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from bigain.config import RunConfig
from bigain.engine.build_operator import check_operator
from bigain.errors import UserError
from bigain.launch.compose import compose_with, config_loader, validate
from bigain.locations import CONFIGS

ROOT = Path(__file__).parents[2]


OWN_IMAGES = "folder"
"""Goes with a backbone by what the user's files say; see test_folder.py."""


def options(group: str) -> list[str]:
    names = {path.stem for path in (CONFIGS / group).glob("*.yaml")}
    return sorted(names - {OWN_IMAGES})


GROUPS = ("backbone", "dataset", "operator", "task")
BACKBONES, DATASETS, OPERATORS, TASKS = map(options, GROUPS)
WITHOUT_IMAGES = {"efficiency"}
"""Tasks that read no dataset, so that any goes with any backbone."""
PHOTOGRAPHS = {"pets", "imagenet100", "imagenet1k", "coco2017"}
JOINT = {"sd3_medium", "sd35_medium", "flux_dev"}
"""Backbones of flow matching, which attend to image and text jointly; nothing is generated."""
KEYS = {"todo", "avg_pool", "ie_kvd", "kv_select"}
GOES_WITH = {
    **dict.fromkeys(("sd21", *JOINT), PHOTOGRAPHS),
    "mini_unet": {"fashion_mnist", "fashion_mosaic"},
    "mini_dit": {"fashion_mnist", "fashion_mosaic"},
    "sd20": PHOTOGRAPHS,
    "sd15": PHOTOGRAPHS,
    "sdxl": PHOTOGRAPHS,
    "dit_xl2_512": {"imagenet100", "imagenet1k"},
}
WITHOUT_CONDITIONS = {"fashion_mosaic"}
"""Datasets that no image can be generated of."""
HYBRIDS = {"lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec"}
CALIBRATED = {"dip_go", "mosaic_diff"}
"""Operators of a staged classification and its FLOPs alone; the default of efficiency is both."""
TRANSFORMERS = {"mini_dit", "dit_xl2_512", *JOINT}

Combination = tuple[str, str, str, str]
Outcome = RunConfig | str
ALL = list(itertools.product(BACKBONES, DATASETS, OPERATORS, TASKS))
REPRESENTATIVE = [each for each in ALL if each[2] == "lgtm" or each[1] == min(GOES_WITH[each[0]])]


def reason(backbone: str, dataset: str, operator: str, task: str) -> str:
    """A pattern of the one line that refuses the combination; empty if it is a run."""
    if task not in WITHOUT_IMAGES and dataset not in GOES_WITH[backbone]:
        suited = "".join(f"(?=.*\\b{name}\\b)" for name in GOES_WITH[backbone])
        return f"^dataset={dataset}: allowed: {suited}.*because backbone={backbone} "
    is_classifier = operator in CALIBRATED and dataset not in WITHOUT_CONDITIONS
    if task == "generation" and (backbone in JOINT or is_classifier):
        because = f"because (backbone={backbone}|operator={operator}) "
        return f"^task=generation: allowed: classification or .* {because}"
    if task == "generation" and dataset in WITHOUT_CONDITIONS:
        return f"^dataset={dataset}: allowed: .*fashion_mnist, because task=generation "
    if backbone in JOINT and (
        operator in KEYS | CALIBRATED or (backbone == "flux_dev" and operator != "none")
    ):
        allowed = "none" if backbone == "flux_dev" else "one that merges tokens"
        return f"^operator={operator}: allowed: {allowed}.* backbone={backbone} "
    if operator in HYBRIDS and backbone in TRANSFORMERS:
        return f"^operator={operator}: allowed: .*encoder and decoder, .* backbone={backbone} "
    return ""


def attempt(make: Callable[[], RunConfig]) -> Outcome:
    try:
        config = make()
        check_operator(config)
        return config
    except UserError as error:
        return str(error)


def mistakes(outcomes: Iterator[tuple[Combination, Outcome]]) -> list[str]:
    """What is not as the table says; empty if all is."""
    return [
        f"{combination}: {outcome if isinstance(outcome, str) else 'composes'}, not {expected}"
        for combination, outcome in outcomes
        for expected in [reason(*combination)]
        if not _as_expected(combination, outcome, expected)
    ]


def _as_expected(combination: Combination, outcome: Outcome, expected: str) -> bool:
    if isinstance(outcome, str):
        return bool(expected) and "\n" not in outcome and bool(re.search(expected, outcome))
    chosen = (outcome.backbone, outcome.dataset, outcome.operator, outcome.task)
    return not expected and tuple(each.name for each in chosen) == combination


def command(combination: Combination) -> list[str]:
    return [f"{group}={name}" for group, name in zip(GROUPS, combination, strict=True)]


def nodes(group: str) -> dict[str, Any]:
    return {name: OmegaConf.load(CONFIGS / group / f"{name}.yaml") for name in options(group)}


def put_together() -> Iterator[tuple[Combination, Outcome]]:
    datasets, operators = nodes("dataset"), nodes("operator")
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        for backbone, task in itertools.product(BACKBONES, TASKS):
            job: DictConfig = compose("config", [f"backbone={backbone}", f"task={task}"])
            OmegaConf.set_struct(job, False)
            for _, dataset, operator, _ in (
                c for c in REPRESENTATIVE if c[::3] == (backbone, task)
            ):
                job.dataset, job.operator = datasets[dataset], operators[operator]
                job.operator.pop("defaults", None)
                yield (backbone, dataset, operator, task), attempt(lambda j=job: validate(j))  # type: ignore[misc]


def test_the_table_knows_every_backbone_and_has_no_other() -> None:
    assert set(BACKBONES) == set(GOES_WITH)
    assert set(DATASETS) == set().union(*GOES_WITH.values())
    assert set(OPERATORS) > HYBRIDS
    assert {"classification", "efficiency"} <= set(TASKS)
    runs = [combination for combination in ALL if not reason(*combination)]
    assert len(TASKS) * 150 < len(runs) < len(ALL)


def test_combinations_compose_or_fail_with_their_reason() -> None:
    outcomes = list(put_together())
    assert len(outcomes) == len(REPRESENTATIVE)
    assert mistakes(iter(outcomes)) == []


@pytest.mark.slow
def test_every_command_line_composes_or_fails_with_its_reason() -> None:
    with config_loader() as loader:
        outcomes = (
            (each, attempt(lambda each=each: compose_with(loader, command(each))))  # type: ignore[misc]
            for each in ALL
        )
        assert mistakes(outcomes) == []


@pytest.mark.parametrize(
    "combination",
    [
        ("dit_xl2_512", "pets", "none", "classification"),
        ("dit_xl2_512", "pets", "ie_kvd", "efficiency"),
    ],
)
def test_the_command_line_shows_the_job_or_its_reason(combination: Combination) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bigain", "--cfg", "job", *command(combination)],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    expected = reason(*combination)
    if expected:
        assert done.returncode == 2
        assert re.search(expected, done.stderr)
        assert done.stderr.count("\n") == 1
    else:
        assert (done.returncode, done.stderr) == (0, "")
        shown: Any = OmegaConf.create(done.stdout)
        assert tuple(shown[group].name for group in GROUPS) == combination
