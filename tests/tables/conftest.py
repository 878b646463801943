"""Runs that cost nothing: real run folders with records made of a formula, for every task."""

import json
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bigain.config import RunConfig
from bigain.config.paper import load_paper
from bigain.launch.compose import compose_configs
from bigain.metrics import Metric, mean_interval, wilson
from bigain.runs.errors import packed
from bigain.runs.files import FIRST_STAGE, Evaluation
from bigain.runs.identity import run_id
from bigain.runs.store import RunStore
from bigain.tables.cells import Measured, cell_pairs, measure
from bigain.tables.differences import plain_difference
from bigain.tables.planner import NONE, CellKey, Compose, Plan, plan_table
from bigain.tables.render import load_spec
from bigain.tables.sources import Sources
from bigain.tables.spec import Row
from bigain.testing.runs import evaluation_of

FakeRunner = Callable[..., None]
MakePlan = Callable[..., Plan]
MakeSources = Callable[..., Sources]
Record = dict[str, Any]

HARM = {
    **{
        "none": 0.0,
        "tome": 0.10,
        "lgtm": 0.08,
        "sito": 0.12,
        "cached": 0.09,
        "abm": 0.095,
        "toma": 0.085,
    },
    **{"todo": 0.04, "avg_pool": 0.05, "ie_kvd": 0.03, "kv_select": 0.06},
    **{"lgtm_enc_ie_kvd_dec": 0.02, "ie_kvd_enc_lgtm_dec": 0.025},
    **{"dip_go": 0.07, "mosaic_diff": 0.065},
}
FIRST_IMAGE = 100
IMAGES = 30


def strength_of(config: RunConfig) -> float:
    settings = config.operator.settings()
    amount = settings["ratio"] or settings["factor"] or (0.75 if HARM[config.operator.name] else 0)
    return HARM[config.operator.name] * float(amount)


def own_random(config: RunConfig, image_id: int) -> random.Random:
    """Differs between operators and settings; that of the image alone is `Random(image_id)`."""
    settings = config.operator.model_dump(mode="json", exclude={"target"})
    settings_text = json.dumps(settings, sort_keys=True)
    return random.Random(f"{image_id} {settings_text}")


def classified(config: RunConfig, image_id: int) -> Record:
    """Errors and decisions of one image: the stronger the operator, the larger the error."""
    strength, own = strength_of(config), own_random(config, image_id)
    image = random.Random(image_id)
    errors = [round(0.1 + 0.05 * image.random(), 6) for _ in range(5)]
    rises = [1 + strength * (0.5 + own.random()) for _ in errors]
    prediction = image_id % 10 if own.random() > 0.1 + strength else (image_id + 1) % 10
    record = {
        "image_id": image_id,
        "label": image_id % 10,
        "prediction": prediction,
        "correct": prediction == image_id % 10,
        "scores": [0.1] * 10,
        "trials": [20] * 10,
        "true_errors": [round(e * r, 6) for e, r in zip(errors, rises, strict=True)],
        "margin_mean": round(0.02 * own.random() - 0.01 * strength, 6),
        "margin_variance": round(0.001 * own.random(), 8),
        "seconds": 0.01,
    }
    if config.dataset.name in ("coco2017", "fashion_mosaic"):
        precision = round(0.9 - strength * (0.5 + own.random()), 6)
        record |= {
            "labels": sorted({image_id % 10, (image_id + 3) % 10}),
            "label": None,
            "average_precision": precision,
        }
    return record


def generated(config: RunConfig, image_id: int) -> Record:
    strength, own = strength_of(config), own_random(config, image_id)
    prediction = image_id % 10 if own.random() > 0.1 + strength / 4 else (image_id + 1) % 10
    record = {
        "image_id": image_id,
        "label": image_id % 10,
        "sha256": f"{own.getrandbits(64):016x}",
        "frechet_value": round(random.Random(image_id).random() + strength * own.random(), 6),
    }
    if config.dataset.name == "fashion_mnist":
        record |= {"prediction": prediction, "correct": prediction == image_id % 10}
    return record


def efficiency_records(config: RunConfig) -> list[Record]:
    """One count, or three repeats of a time; without an operator nothing to compare with."""
    bare = config.operator.name == "none"
    strength = strength_of(config)
    count = {
        **{"image_id": 0, "measure": "flops", "flops": 800e9 * (1 - strength)},
        "baseline_flops": None if bare else 800e9,
        **dict.fromkeys(("ms_per_step", "baseline_ms_per_step", "steps", "batch_size")),
    }
    if "flops" in config.task.measures:  # type: ignore[union-attr]
        return [count]
    return [
        {
            **{"image_id": repeat, "measure": "time", "flops": None, "baseline_flops": None},
            "ms_per_step": 80 * (1 - strength) + own_random(config, repeat).random(),
            "baseline_ms_per_step": None if bare else 80 + random.Random(repeat).random(),
            **{"steps": 5, "batch_size": 4},
        }
        for repeat in range(3)
    ]


def evaluated(config: RunConfig, records: list[Record]) -> Evaluation:
    """The metrics of generated images, as the evaluator gives them."""
    name = "frechet_mini" if config.dataset.name == "fashion_mnist" else "fid"
    n, values = len(records), [record["frechet_value"] for record in records]
    low, high = mean_interval(values)
    metrics = [Metric(name, sum(values) / n, n, max(0.0, low), high, "feature^2")]
    if "correct" in records[0]:
        right = sum(record["correct"] for record in records)
        low, high = (100 * end for end in wilson(right, n))
        metrics.append(Metric("class_agreement", 100 * right / n, n, low, high, "percent"))
    return Evaluation(records, metrics)


def records_of(config: RunConfig) -> list[Record]:
    if config.task.name == "efficiency":
        return efficiency_records(config)
    one = classified if config.task.name == "classification" else generated
    limit = config.dataset.limit or IMAGES
    return [one(config, image_id) for image_id in range(FIRST_IMAGE, FIRST_IMAGE + limit)]


def first_stage(record: Record) -> Record:
    """The errors of all classes in the first stage that belong to a record."""
    spread = random.Random(str(record["true_errors"]))
    errors = [
        [own if c == record["label"] else own + spread.gauss(0.02, 0.01) for c in range(10)]
        for own in record["true_errors"]
    ]
    return {FIRST_STAGE: packed([125, 325, 525, 725, 925], np.array(errors))}


def fake_run(config: RunConfig, *, with_errors: bool = False) -> None:
    """A finished run in the store, as `bigain.engine.run.run` leaves it."""
    records = {record["image_id"]: record for record in records_of(config)}
    if with_errors:
        records = {key: record | first_stage(record) for key, record in records.items()}
    evaluate = None
    if config.task.name == "generation":
        evaluate = lambda found: evaluated(config, list(found))  # noqa: E731
    results = config.paths.results
    with RunStore(results, run_id(config)).open(config, list(records), {}) as session:
        for image_id in session.todo():
            session.append(records[image_id])
        session.finish(evaluate or evaluation_of(config, results))


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk() -> Iterator[None]:
    """A thousand records are written here, and none has to survive a power cut."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


@pytest.fixture
def golden() -> Callable[[str, str], None]:
    """Compare a text with the file `golden/<name>`.

    To change it on purpose, delete the file: the next run writes it, and fails so that it is read.
    """

    def check(name: str, text: str) -> None:
        path = Path(__file__).parent / "golden" / name
        if not path.exists():
            path.write_text(text, encoding="utf-8")
            pytest.fail(f"{name} is new: read it, then run again")
        assert text == path.read_text(encoding="utf-8")

    return check


@pytest.fixture(scope="session")
def compose() -> Compose:
    """`compose_configs` that composes nothing twice."""
    known: dict[tuple[str, ...], RunConfig] = {}

    def composed(commands: Sequence[Sequence[str]]) -> list[RunConfig]:
        fresh = [tuple(c) for c in dict.fromkeys(map(tuple, map(without_folder, commands)))]
        fresh = [command for command in fresh if command not in known]
        known.update(zip(fresh, compose_configs(fresh), strict=True))
        return [with_folder(known[tuple(without_folder(c))], c) for c in commands]

    return composed


@pytest.fixture
def runner() -> FakeRunner:
    return fake_run


@pytest.fixture
def make_plan(tmp_path: Path, compose: Compose) -> MakePlan:
    """Plan of a table whose results lie in the test's own folder, on 30 images."""
    return lambda number, profile="mini", grid="default", extra=(): plan_in(
        tmp_path, compose, number, profile, grid, extra
    )


@pytest.fixture(scope="session")
def make_sources(tmp_path_factory: pytest.TempPathFactory, compose: Compose) -> MakeSources:
    """A table where the runs that `wanted` picks are finished, with nothing that may change.

    Run ids and the weights' revision follow the configuration files; here they are fixed.
    """
    results = tmp_path_factory.mktemp("results")

    def sources(
        number: int,
        wanted: Callable[[RunConfig], bool] = lambda _: True,
        profile: str = "mini",
        grid: str = "default",
    ) -> Sources:
        plan = plan_in(results, compose, number, profile, grid)
        for run in plan.distinct():
            if wanted(run.config) and not run.finished:
                fake_run(run.config)
        runs = {cell: replace(r, finished=wanted(r.config)) for cell, r in plan.runs.items()}
        done = {cell: run for cell, run in runs.items() if run.finished}
        measured = measure(replace(plan, runs=done), results)
        return Sources(pinned(replace(plan, runs=runs)), measured, load_paper())

    return sources


@pytest.fixture(scope="session")
def as_printed(
    tmp_path_factory: pytest.TempPathFactory, compose: Compose
) -> Callable[[int], Sources]:
    """A table in the paper profile whose runs measured exactly what the paper prints.

    Numbers alone decide what is rendered, so all runs on one dataset share one configuration.
    """
    results = tmp_path_factory.mktemp("paper")

    def alike(commands: Sequence[Sequence[str]]) -> list[RunConfig]:
        groups = ("profile=", "backbone=", "dataset=", "task=", "task.measure=", "paths.results=")
        return compose([[o for o in command if o.startswith(groups)] for command in commands])

    def sources(number: int) -> Sources:
        spec = load_spec(number)
        plan = plan_table(spec, "paper", "default", [f"paths.results={results}"], alike)
        empty = Sources(plan, Measured(), load_paper())
        return replace(empty, measured=printed_as_measured(empty))

    return sources


def printed_as_measured(sources: Sources) -> Measured:
    """The paper's values as runs without intervals; differences by the code's own subtraction."""
    plan, runs = sources.plan, dict[CellKey, dict[str, Metric]]()
    none = Row(id=NONE, method=NONE, label="")
    for block in plan.spec.profile("paper").blocks:
        try:  # Table 5 leaves the paper's FID in a rectangle of its own
            paper = plan.spec.paper.block(*(block.beside or (block.dataset, block.metric)))
        except KeyError:
            continue
        for row, column in product((none, *plan.rows), plan.columns_of(block)):
            value = sources.printed(paper, row, column, block)
            cell = sources.key(block, row, column)
            if value is not None and value.number is not None and cell in plan.runs:
                metric = Metric(block.metric, value.number, 1000, math.nan, math.nan, "percent")
                runs.setdefault(cell, {})[block.metric] = metric
    deltas = {
        (row, versus): {
            name: plain_difference(name, runs[row][name], runs[versus][name])
            for name in runs[row]
            if name in runs[versus]
        }
        for row, versus in cell_pairs(plan, runs)
    }
    return Measured(runs, deltas)


def plan_in(
    results: Path,
    compose: Compose,
    number: int,
    profile: str = "mini",
    grid: str = "default",
    extra: Sequence[str] = (),
) -> Plan:
    own = (f"dataset.limit={IMAGES}", f"paths.results={results}", *extra)
    return plan_table(load_spec(number), profile, grid, own, compose)


def without_folder(command: Sequence[str]) -> list[str]:
    return [override for override in command if not override.startswith("paths.results=")]


def with_folder(config: RunConfig, command: Sequence[str]) -> RunConfig:
    folders = [o.partition("=")[2] for o in command if o.startswith("paths.results=")]
    results = Path(folders[-1]) if folders else config.paths.results
    paths = config.paths.model_copy(update={"results": results, "cache": results / "cache"})
    return config.model_copy(update={"paths": paths})


def pinned(plan: Plan) -> Plan:
    """The plan with its run ids numbered, its weights and its folders renamed."""
    runs = {}
    for number, (cell, run) in enumerate(plan.runs.items()):
        backbone = run.config.backbone.model_copy(update={"revision": "0123456789ab"})
        config = run.config.model_copy(update={"backbone": backbone})
        overrides = tuple(without_folder(run.overrides))
        runs[cell] = replace(run, config=config, overrides=overrides, run_id=f"run{number:02d}")
    return replace(plan, runs=runs, extra=tuple(without_folder(plan.extra)))
