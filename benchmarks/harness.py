"""What a mini classification run costs beside its denoiser; `python benchmarks/harness.py`.

Classification runs with the defaults of the protocol are made in one process, with one thread, on
both mini backbones in turn.  Timers stand around the forward of the denoiser, the encoder of images
and each part of the harness; time belongs to the innermost one.  What happens once (imports,
weights and data, evaluation) is kept apart from what happens for each image.  Images share batches,
so what an image costs is the mean over a run.  The harness is all of that but the denoiser, the
encoder, and the imports of torch and diffusers, which any loop around this denoiser has.  The
copies of equal rows (`bigain.patching.sharing`) are made inside the denoiser and replace its work:
they stand apart, and count as the denoiser's.

CPU time is little disturbed by other work on the machine.  Wall time also has the waiting for the
disk, because each record is on disk before the next image begins; it needs idle cores.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import timing

from bigain.errors import in_one_line

__all__ = ["Clock", "main"]

_BACKBONES = ("mini_dit", "mini_unet")
_LIBRARIES = "imports of torch and diffusers"
_IMPORTS = "imports of the harness"
_ONCE = (_IMPORTS, "weights and data", "start and end of the run", "evaluation")
_MODEL = ("denoiser", "equal rows", "encoder")
_EACH = (
    *(*_MODEL, "reading of images", "noise", "rounds and errors", "batches"),
    *("records", "journal", "progress and trackers"),
)
_IMAGES = 400
"""Images of a run of the profile `mini`."""


class Cost(NamedTuple):
    """Milliseconds, of the processor and of the clock on the wall."""

    cpu: float
    wall: float


class Clock:
    """Time by part; it runs for the part that began last and has not ended."""

    def __init__(self) -> None:
        self.cpu: defaultdict[str, float] = defaultdict(float)
        self.wall: defaultdict[str, float] = defaultdict(float)
        self._parts: list[str] = []
        self._last = self._now()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count what happens in the block as `name`, without the parts in it."""
        self._switch()
        self._parts.append(name)
        try:
            yield
        finally:
            self._switch()
            self._parts.pop()

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function`, counted as `name`."""

        def timed(*arguments: Any, **named: Any) -> Any:
            with self.part(name):
                return function(*arguments, **named)

        return timed

    def each(self, name: str, function: Callable[..., Iterator[Any]]) -> Callable[..., Any]:
        """`function`, a generator whose items are counted as `name` while they are made."""

        def each(*arguments: Any, **named: Any) -> Iterator[Any]:
            items, end = function(*arguments, **named), object()
            following = self.timed(name, lambda: next(items, end))
            while (item := following()) is not end:
                yield item

        return each

    def costs(self) -> dict[str, Cost]:
        """Part -> its cost."""
        return {name: Cost(1e3 * self.cpu[name], 1e3 * self.wall[name]) for name in self.wall}

    def _switch(self) -> None:
        before, self._last = self._last, self._now()
        if self._parts:
            self.cpu[self._parts[-1]] += self._last[0] - before[0]
            self.wall[self._parts[-1]] += self._last[1] - before[1]

    @staticmethod
    def _now() -> tuple[float, float]:
        return time.process_time(), time.perf_counter()


def main() -> None:
    """Print the parts of both backbones, and write them as CSV if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=timing.positive, default=24)
    parser.add_argument("--repeats", type=timing.positive, default=5)
    parser.add_argument("--csv", type=Path)
    arguments = parser.parse_args()
    timing.check_csv(arguments.csv)
    imports = _imports()
    measured: dict[str, list[dict[str, Cost]]] = {name: [] for name in _BACKBONES}
    for _ in range(arguments.repeats):
        for backbone in _BACKBONES:
            costs = _costs(backbone, arguments.images)
            measured[backbone].append({**imports, **costs})
    rows = [row for name in _BACKBONES for row in _rows(name, measured[name], arguments.images)]
    _show(rows)
    if arguments.csv is not None:
        place = {**timing.conditions(), "threads": 1}
        timing.write_rows(arguments.csv, [{**row, **place} for row in rows])


def _imports() -> dict[str, Cost]:
    """Those that any loop around the denoisers has, and all others after them."""
    clock = Clock()
    with clock.part(_IMPORTS):
        machine = import_module("bigain.machine")
        machine.wait_passively()
        machine.keep_freed_memory()
    with clock.part(_LIBRARIES):
        import_module("torch")
        diffusers = import_module("diffusers")  # it loads each model when it is asked for
        for model in ("UNet2DConditionModel", "DiTTransformer2DModel"):
            getattr(diffusers, model)
    with clock.part(_IMPORTS):
        for name in ("bigain.launch.app", "bigain.engine.tasks", "bigain.metrics"):
            import_module(name)
    return clock.costs()


def _costs(backbone: str, images: int) -> dict[str, Cost]:
    """Part -> its cost in one run."""
    from bigain.engine import run as engine  # noqa: PLC0415 -- after the timed imports
    from bigain.launch.compose import compose_config  # noqa: PLC0415

    clock = Clock()
    with tempfile.TemporaryDirectory() as folder, _timers(clock):
        settings = [f"backbone={backbone}", f"dataset.limit={images}", "threads=1"]
        config = compose_config([*settings, f"paths.results={folder}"])
        with clock.part("start and end of the run"):
            engine.run(config, progress=True)
    return clock.costs()


@contextmanager
def _timers(clock: Clock) -> Iterator[None]:
    """Timers around every part."""
    from bigain.backbones.mini import MiniBackbone  # noqa: PLC0415 -- after the timed imports
    from bigain.engine import tasks as building  # noqa: PLC0415
    from bigain.patching.sharing import Sharing  # noqa: PLC0415
    from bigain.runs.progress import Meter  # noqa: PLC0415
    from bigain.runs.session import RunSession  # noqa: PLC0415
    from bigain.tasks import classification, classifier, evaluations, packing  # noqa: PLC0415
    from bigain.tracking.sink import Sinks  # noqa: PLC0415

    def build(config: Any) -> Any:
        with clock.part("weights and data"):
            task: Any = building_task(config)
        denoiser = task.backbone.denoiser
        denoiser.forward = clock.timed("denoiser", denoiser.forward)
        kind = type(task.dataset)
        getter = mock.patch.object(
            kind, "__getitem__", clock.timed("reading of images", kind.__getitem__)
        )
        getter.start()
        undo.append(getter)
        return task

    building_task, undo = building.build_task, list[Any]()
    items = classifier.DiffusionClassifier.classify
    classify = clock.each("rounds and errors", items)
    undo.append(mock.patch.object(classifier.DiffusionClassifier, "classify", classify))
    undo[-1].start()
    places = (
        (MiniBackbone, "encode", "encoder"),
        (evaluations, "keyed_noise", "noise"),
        (packing.Packed, "take", "batches"),
        (Sharing, "_narrow", "equal rows"),
        (Sharing, "_repeat", "equal rows"),
        (classification, "to_record", "records"),
        (RunSession, "append", "journal"),
        (RunSession, "finish", "evaluation"),
        (Meter, "advance", "progress and trackers"),
        (Sinks, "record", "progress and trackers"),
    )
    for place, name, part in places:
        undo.append(mock.patch.object(place, name, clock.timed(part, getattr(place, name))))
        undo[-1].start()
    with mock.patch.object(building, "build_task", build):
        yield
    for each in undo:
        each.stop()


def _rows(
    backbone: str, runs: list[dict[str, Cost]], images: int
) -> Iterator[Mapping[str, str | float]]:
    """One row a part, in milliseconds of a run of `_IMAGES`: median, smallest, largest."""

    def of_run(costs: dict[str, Cost], part: str, clock: str) -> float:
        factor = _IMAGES / images if part in _EACH else 1.0
        return factor * float(getattr(costs.get(part, Cost(0.0, 0.0)), clock))

    parts: dict[str, tuple[str, ...]] = {name: (name,) for name in (*_ONCE, _LIBRARIES, *_EACH)}
    parts["harness, once"] = _ONCE
    parts["harness, each image"] = tuple(name for name in _EACH if name not in _MODEL)
    parts["all, each image"] = _EACH
    parts["all"] = (*_ONCE, _LIBRARIES, *_EACH)
    for part, names in parts.items():
        row: dict[str, str | float] = {"backbone": backbone, "part": part, "images": _IMAGES}
        for clock in ("cpu", "wall"):
            times = [sum(of_run(costs, name, clock) for name in names) for costs in runs]
            whole = [sum(of_run(costs, name, clock) for name in parts["all"]) for costs in runs]
            shares = [100 * own / all_ for own, all_ in zip(times, whole, strict=True)]
            row |= {
                f"{clock}_ms": round(statistics.median(times), 1),
                f"{clock}_percent": round(statistics.median(shares), 3),
                f"{clock}_percent_low": round(min(shares), 3),
                f"{clock}_percent_high": round(max(shares), 3),
            }
        yield row


def _show(rows: list[Mapping[str, str | float]]) -> None:
    print(f"{'':42}   CPU ms       %  (range)               wall ms       %  (range)")
    for row in rows:
        line = f"{row['backbone']:10}{row['part']:32}"
        for clock in ("cpu", "wall"):
            line += f"{row[f'{clock}_ms']:10.0f} {row[f'{clock}_percent']:7.2f}"
            line += f"  ({row[f'{clock}_percent_low']:.2f}-{row[f'{clock}_percent_high']:.2f})   "
        print(line)


if __name__ == "__main__":
    sys.exit(in_one_line(main))
