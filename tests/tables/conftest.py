"""Runs that cost nothing: real run folders with records made of a formula."""

import json
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from bigain.compose import compose_configs
from bigain.config import RunConfig
from bigain.runs.identity import run_id
from bigain.runs.session import Conclusion
from bigain.runs.store import RunStore
from bigain.tables.cells import measure
from bigain.tables.layout import Sources
from bigain.tables.paper import load_paper
from bigain.tables.planner import Compose, Plan, plan_table
from bigain.tables.spec import load_spec

FakeRunner = Callable[[RunConfig], None]
MakePlan = Callable[..., Plan]
MakeSources = Callable[..., Sources]

HARM = {"none": 0.0, "tome": 0.10, "lgtm": 0.08, "todo": 0.04, "avg_pool": 0.05, "ie_kvd": 0.03}
FIRST_IMAGE = 100


def record(config: RunConfig, image_id: int) -> dict[str, Any]:
    """Errors and decisions of one image: the stronger the operator, the larger the error."""
    settings = config.operator.settings()
    strength = HARM[config.operator.name] * float(settings["ratio"] or settings["factor"] or 0)
    image = random.Random(image_id)
    errors = [round(0.1 + 0.05 * image.random(), 6) for _ in range(5)]
    settings_text = json.dumps(config.operator.model_dump(mode="json"), sort_keys=True)
    own = random.Random(f"{image_id} {settings_text}")
    rises = [1 + strength * (0.5 + own.random()) for _ in errors]
    prediction = image_id % 10 if own.random() > 0.1 + strength else (image_id + 1) % 10
    return {
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


def fake_run(config: RunConfig) -> None:
    """A finished run in the store, as `bigain.runner.run` leaves it."""
    limit = config.dataset.limit or 30
    images = list(range(FIRST_IMAGE, FIRST_IMAGE + limit))
    with RunStore(config.paths.results, run_id(config)).open(config, images, {}) as session:
        for image_id in session.todo():
            session.append(record(config, image_id))
        session.finish(lambda records: Conclusion(records, []))


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


def plan_in(
    results: Path,
    compose: Compose,
    number: int,
    profile: str = "mini",
    grid: str = "default",
    extra: Sequence[str] = (),
) -> Plan:
    own = ("dataset.limit=30", f"paths.results={results}", *extra)
    return plan_table(load_spec(number), profile, grid, own, compose)


def without_folder(command: Sequence[str]) -> list[str]:
    return [override for override in command if not override.startswith("paths.results=")]


def with_folder(config: RunConfig, command: Sequence[str]) -> RunConfig:
    folders = [o.partition("=")[2] for o in command if o.startswith("paths.results=")]
    results = Path(folders[-1]) if folders else config.paths.results
    paths = config.paths.model_copy(update={"results": results})
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
