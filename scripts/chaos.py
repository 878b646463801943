"""Kill runs and sweeps at random moments, and check that nothing is lost or done twice.

    python scripts/chaos.py --kills 50 --seed 0

A classification, a generation and a sweep of four runs are made once without a kill, then again and
again in new folders.  There, processes get SIGKILL, and the same command is given again at once
until it ends well.  joblib and submitit carry the sweep out in turn; the launching process or one
of a run is killed.  A kill comes when a random number of records is on disk and a random time has
passed, so it meets the loading, the work, and the evaluation.  What must hold:

    what a journal had stays there, byte for byte, and no image has two records
    samples.csv, errors.npz, metrics.csv and the images equal those of the work without a kill
    no image with a record is begun again, and a kill costs at most the images that share a batch

The third is counted where the classifier and the sampler take images, in runs without a launcher.
These are forked from a process that has loaded torch, so that a kill costs little.
"""

import argparse
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from bigain.cli.main import main as bigain
from bigain.runs.beats import is_alive, read_beat

__all__ = ["WORK", "Ledger", "differences", "main"]

_PATIENCE, _LOOK = 600.0, 0.01
_RESTARTS, _MOST_KILLS = 30, 4
_CONTEXT = multiprocessing.get_context("forkserver")
_IMPORTS = ["bigain.launch.app", "bigain.engine.tasks", "bigain.metrics"]
_FILES = ("samples.csv", "errors.npz", "metrics.csv", "images/*.*", "grid.png")

WORK = "work.txt"
"""The images that the denoiser was given, one a line."""

_SMALL = ("dataset.limit=12", "operator=lgtm")
_CLASSIFY = ("task=classification", "task.trial_list=[1,2]", "batch_size=10")
_GENERATE = ("task=generation", "task.steps=4", "task.images_per_forward=2")


@dataclass(frozen=True)
class Work:
    """What is made.

    Attributes:
        name, arguments: For messages; the command line.
        launchers: Further arguments, in turn; the work without a kill has none of them.
        batch: How many images without a record may have begun at a kill.

    """

    name: str
    arguments: tuple[str, ...]
    launchers: tuple[tuple[str, ...], ...] = ((),)
    batch: int = 1


WORKS = (
    Work("classification", (*_SMALL, *_CLASSIFY, "backbone=mini_dit"), batch=3),
    Work("generation", (*_SMALL, *_GENERATE, "backbone=mini_unet"), batch=2),
    Work(
        "sweep",
        ("-m", *_SMALL, *_CLASSIFY, "backbone=mini_dit,mini_unet", "seed=0,1"),
        (
            ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
            ("hydra/launcher=submitit_local", "hydra.sweeper.max_batch_size=2"),
        ),
    ),
)


@dataclass
class Ledger:
    """What is known of a folder of results after its last process.

    Attributes:
        results: The folder.
        journals: Journal -> its complete lines.
        seen: How many bytes of the file of work are accounted for.

    """

    results: Path
    journals: Mapping[Path, bytes] = field(default_factory=dict)
    seen: int = 0

    def account(self, batch: int) -> int:
        """Check what the last process did; how many images, up to `batch`, it evaluated in vain.

        Raises:
            SystemExit: A record is lost or there twice, or an image was evaluated again.

        """
        before, self.journals = self.journals, _records(self.results)
        for path, text in before.items():
            if not self.journals.get(path, b"").startswith(text):
                raise SystemExit(f"{path}: a record that was on disk is gone or was changed")
        for path, text in self.journals.items():
            twice = [image for image, times in Counter(_images(text)).items() if times > 1]
            if twice:
                raise SystemExit(f"{path}: two records of images {twice}")
        text = (self.results / WORK).read_bytes()[self.seen :]
        self.seen += len(text)
        given = Counter(map(int, text.split()))
        had, has = (set(_images(b"".join(each.values()))) for each in (before, self.journals))
        again = [image for image, times in given.items() if times > 1 or image in had]
        if again:
            raise SystemExit(f"{self.results}: images {again} were evaluated again")
        lost = given.keys() - has
        if len(lost) > batch:
            raise SystemExit(f"{self.results}: images {sorted(lost)} were evaluated in vain")
        return len(lost)


def differences(reference: Path, results: Path) -> list[str]:
    """The files of runs that are not the same byte for byte, or are in one folder only."""
    found = [_files(folder) for folder in (reference, results)]
    names = found[0].keys() | found[1].keys()
    return sorted(str(name) for name in names if found[0].get(name) != found[1].get(name))


def _files(results: Path) -> dict[Path, bytes]:
    paths = [path for name in _FILES for path in results.glob(f"runs/*/{name}")]
    return {path.relative_to(results): path.read_bytes() for path in paths}


def _records(results: Path) -> dict[Path, bytes]:
    """Journal -> its complete lines, of all runs in `results`."""
    texts = {path: path.read_bytes() for path in results.glob("runs/*/journal-*.jsonl")}
    return {path: text[: text.rfind(b"\n") + 1] for path, text in texts.items()}


def _images(lines: bytes) -> Iterator[int]:
    return (json.loads(line)["image_id"] for line in lines.splitlines())


def _count(results: Path) -> int:
    return b"".join(_records(results).values()).count(b"\n")


def _at_work(results: Path) -> set[int]:
    """The processes that work on a run now, as their beats say."""
    paths = [*results.glob("runs/*/.journal-*.beat"), *results.glob("sweeps/*/jobs/*.beat")]
    beats = [read_beat(path) for path in paths if is_alive(path)]
    return {beat["pid"] for beat in beats if beat is not None}


def _live(arguments: Sequence[str], results: Path) -> None:
    """What `python -m bigain` does; but for sweeps in a process that has its imports done."""
    with (results / "log.txt").open("ab") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if arguments[0] == "-m":  # pools of processes end at the exit of an interpreter, not of a fork
        os.execv(sys.executable, [sys.executable, "-m", "bigain", *arguments])
    _count_work(results / WORK)
    raise SystemExit(bigain(arguments))


def _count_work(work: Path) -> None:
    """Write the number of each image into `work` before it begins."""
    from bigain.tasks.classifier import DiffusionClassifier  # noqa: PLC0415 -- loads torch
    from bigain.tasks.sampling import Sampler  # noqa: PLC0415

    handle = work.open("ab", buffering=0)
    of_images, of_samples = DiffusionClassifier.classify, Sampler.sample

    def note(image: Any) -> Any:
        handle.write(b"%d\n" % image[0])
        return image

    def classify(self: Any, images: Any) -> Any:
        return of_images(self, map(note, images))

    def sample(self: Any, indices: Any, conditions: Any) -> Any:
        handle.write(b"".join(b"%d\n" % index for index in indices.tolist()))
        return of_samples(self, indices, conditions)

    kinds: tuple[Any, Any] = (DiffusionClassifier, Sampler)
    kinds[0].classify, kinds[1].sample = classify, sample


def _start(arguments: Sequence[str], results: Path) -> ForkServerProcess:
    results.mkdir(exist_ok=True)
    (results / WORK).touch()
    places = [f"paths.results={results}", f"paths.cache={results.parent / 'cache'}"]
    process = _CONTEXT.Process(target=_live, args=([*arguments, *places], results))
    process.start()
    return process


class Chaos:
    """Makes a work without a kill, then kills its processes.

    Args:
        work: What is made.
        folder: Where; its results are in folders below.
        draws: What decides when and whom to kill.

    SystemExit says why it failed, here and in `torment`.

    """

    def __init__(self, work: Work, folder: Path, draws: random.Random) -> None:
        self._work, self._draws = work, draws
        self._reference = folder / work.name
        process = _start(work.arguments, self._reference)
        while process.is_alive() and not _count(self._reference):
            time.sleep(_LOOK)
        began = time.monotonic()
        process.join(_PATIENCE)
        self._total = _count(self._reference)
        if process.exitcode or not self._total:
            raise SystemExit(f"{self._reference}: fails without a kill, see log.txt there")
        self._spacing = (time.monotonic() - began) / self._total

    def torment(self, kills: int) -> str:
        """Make the work until so many kills have met it; what happened, as a line."""
        met = times = lost = 0
        while met < kills:
            results = self._reference.with_name(f"{self._work.name}-{times}")
            hits, in_vain = self._make(results, times, min(kills - met, _MOST_KILLS))
            different = differences(self._reference, results)
            if different:
                raise SystemExit(f"{results}: not as without a kill: {', '.join(different)}")
            met, times, lost = met + hits, times + 1, lost + in_vain
        counted = "" if len(self._work.launchers) > 1 else f", {lost} images evaluated in vain"
        return f"{self._work.name}: {met} kills in {times} x {self._total} records{counted}"

    def _make(self, results: Path, number: int, most: int) -> tuple[int, int]:
        """Give the command until it ends well; how many kills met it, and images in vain."""
        launcher = self._work.launchers[number % len(self._work.launchers)]
        ledger, kills = Ledger(results), self._draws.randint(1, most)
        met = lost = 0
        for _ in range(_RESTARTS):
            process = _start([*self._work.arguments, *launcher], results)
            is_hit = met < kills and self._strike(process, results)
            process.join(_PATIENCE)
            met += is_hit
            lost += ledger.account(self._work.batch if is_hit else 0)
            if process.exitcode == 0:
                return met, lost
            if process.exitcode is None:
                process.kill()
                break
        raise SystemExit(f"{results}: does not end well, see log.txt there")

    def _strike(self, process: ForkServerProcess, results: Path) -> bool:
        """Kill `process`, or one that it started, at a random moment; False if it was too late."""
        draws, wanted = self._draws, self._draws.randint(_count(results), self._total)
        while process.is_alive() and (not _at_work(results) or _count(results) < wanted):
            time.sleep(_LOOK)
        time.sleep(draws.uniform(0, 2 * self._spacing))
        others = sorted(_at_work(results) - {process.pid})
        victim = draws.choice([process.pid, draws.choice(others)]) if others else process.pid
        if not process.is_alive() or victim is None:
            return False
        os.kill(victim, signal.SIGKILL)
        who = "it" if victim == process.pid else "a process that it started"
        print(f"  {results.name}: killed {who} after {_count(results)} of {self._total} records")
        return True


def main() -> None:
    """Kill, and print what came of it; exits with 1 if something does not hold."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    _CONTEXT.set_forkserver_preload(_IMPORTS)
    sweeps = arguments.kills // 8
    generation = (arguments.kills - sweeps) // 2
    shares = (arguments.kills - sweeps - generation, generation, sweeps)
    folder, draws = Path(tempfile.mkdtemp(prefix="bigain-chaos-")), random.Random(arguments.seed)
    for work, kills in zip(WORKS, shares, strict=True):
        began = time.monotonic()
        line = Chaos(work, folder, draws).torment(kills)
        print(f"{line}, all files as without a kill; {time.monotonic() - began:.0f} s", flush=True)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
