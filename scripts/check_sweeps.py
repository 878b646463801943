"""Sweeps on a real engine, with accidents, give the files that runs in one process give.

    python scripts/check_sweeps.py slurm    # on a running Slurm, such as that of slurm_local.sh
    python scripts/check_sweeps.py ray      # on a cluster that this script starts, with two workers

Slurm: an array of four runs, of which one is preempted, one put into the queue again and one loses
its node to an administrator; a run in four shards; a sweep of which one task is cancelled and one
killed.  Ray: the four runs with one worker process killed, and the run in four shards.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bigain.errors import in_one_line

SETTINGS = ("task.trial_list=[1,2]",)
SEEDS = "seed=0,1,2,3"
RUN_SECONDS = 6.0
"""About how long a run is to take: long enough that something can happen to it meanwhile."""

FILES = ("samples.csv", "errors.npz", "metrics.csv")
_STARTED = "Ray runtime started"
PATIENCE = 900.0
"""Seconds for one step, also where others use the cores; idle, a step takes less than a minute."""


class Sweep:
    """`bigain -m ...` at work, its output in a file.

    Args:
        results: Its `paths.results`.
        words: The other words of the command.

    """

    def __init__(self, results: Path, *words: str) -> None:
        self.results = results
        results.mkdir(parents=True, exist_ok=True)
        self._before = set(results.glob("sweeps/*"))
        command = [sys.executable, "-m", "bigain", "-m", *words, f"paths.results={results}"]
        self.log = results / f"log-{len(self._before)}.txt"
        with self.log.open("w", encoding="utf-8") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)

    def jobs(self) -> list[dict[str, Any]]:
        """The states of its jobs, as they are on disk now."""
        own = set(self.results.glob("sweeps/*")) - self._before
        names = sorted(name for folder in own for name in folder.glob("jobs/*.json"))
        return [json.loads(name.read_text(encoding="utf-8")) for name in names]

    def records(self, position: int) -> int:
        """How many images the run of a job has on disk."""
        jobs = self.jobs()
        names = self.results.glob(f"runs/{jobs[position]['run_id']}/journal-*") if jobs else ()
        return sum(name.read_text(encoding="utf-8").count("\n") for name in names)

    def has_begun(self, position: int) -> bool:
        """Whether a job is at work and has an image on disk."""
        jobs = self.jobs()
        is_running = bool(jobs) and jobs[position]["state"] == "running"
        return is_running and self.records(position) > 0

    def code(self) -> int:
        """Its exit code, once it has ended."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit(f"does not end: {self.log.read_text(encoding='utf-8')}") from None


def wait_for(what: str, is_so: Callable[[], bool]) -> None:
    """Wait until it is so; ends the script if that takes too long."""
    begun = time.monotonic()
    while not is_so():
        if time.monotonic() - begun > PATIENCE:
            raise SystemExit(f"waited {PATIENCE:.0f} s for: {what}")
        time.sleep(0.1)


def expect(what: str, is_so: bool, sweep: Sweep | None = None) -> None:
    """Say that it is so, or end the script."""
    print(f"{'ok ' if is_so else 'NOT'} {what}", flush=True)
    if not is_so:
        raise SystemExit(sweep.log.read_text(encoding="utf-8") if sweep else 1)


def expect_same(results: Path, reference: Path, runs: int) -> None:
    """The runs of a sweep must have the same files as in one process, byte for byte."""
    made = sorted(path.name for path in (results / "runs").iterdir())
    pairs = [
        (results / "runs" / run / name, reference / "runs" / run / name)
        for run in made
        for name in FILES
    ]
    same = [mine.read_bytes() == theirs.read_bytes() for mine, theirs in pairs]
    what = f"{results.name}: {len(made)} of {runs} runs, {', '.join(FILES)} as in one process"
    expect(what, len(made) == runs and all(same))


def images_of_a_run(folder: Path) -> str:
    """`dataset.limit=N` of a run that takes `RUN_SECONDS` here, from a short one."""
    sweep = Sweep(folder, "dataset.limit=4", *SETTINGS)
    expect("a short run ends with 0", sweep.code() == 0, sweep)
    (manifest,) = folder.glob("runs/*/manifest.json")
    seconds = json.loads(manifest.read_text(encoding="utf-8"))["image_seconds"] / 4
    number = min(400, max(4, round(RUN_SECONDS / seconds)))
    print(f"   {seconds:.3f} s an image, so {number} images a run", flush=True)
    return f"dataset.limit={number}"


def sharded(engine: Sequence[str], settings: Sequence[str], folder: Path) -> None:
    """One run in four shards, merged by the last one that ends."""
    shards = ("seed=0", *settings, "shard.count=4", "shard.index=range(4)")
    sweep = Sweep(folder / "shards", *shards, *engine)
    expect("a run in four shards ends with 0", sweep.code() == 0, sweep)
    expect_same(folder / "shards", folder / "one", runs=1)


def check_slurm(settings: Sequence[str], folder: Path) -> None:
    """Everything on Slurm."""
    engine = ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1")
    sweep = Sweep(folder / "array", SEEDS, *settings, *engine)
    wait_for("two tasks at work", lambda: sweep.has_begun(0) and sweep.has_begun(1))
    job = sweep.jobs()[0]["process"]["slurm_array_job_id"]
    node = sweep.jobs()[1]["process"]["slurmd_nodename"]
    slurm("scancel", "--signal=USR2", f"{job}_0")  # as a preempting queue does
    slurm("scontrol", "requeue", f"{job}_1")
    slurm("scontrol", "update", f"nodename={node}", "state=drain", "reason=check")
    try:
        wait_for("both at work again", lambda: all(each["begun"] > 1 for each in sweep.jobs()[:2]))
        nodes = [each["process"]["slurmd_nodename"] for each in sweep.jobs()[:2]]
        expect(
            f"a preempted and a requeued task go on, not on the drained node {node}",
            node not in nodes,
            sweep,
        )
        expect("the array of four runs ends with 0", sweep.code() == 0, sweep)
    finally:
        slurm("scontrol", "update", f"nodename={node}", "state=resume")
    expect_same(folder / "array", folder / "one", runs=4)
    sharded(engine, settings, folder)
    losses(engine, settings, folder)


def losses(engine: Sequence[str], settings: Sequence[str], folder: Path) -> None:
    """A cancelled task and a killed one end the sweep in bounded time, named."""
    runs = ("seed=0,1,2", *settings)
    sweep = Sweep(folder / "losses", *runs, *engine)
    wait_for("two tasks at work", lambda: sweep.has_begun(0) and sweep.has_begun(1))
    first, second, *_ = sweep.jobs()
    slurm("scancel", f"{first['process']['slurm_array_job_id']}_0")
    os.kill(second["process"]["pid"], signal.SIGKILL)
    begun = time.monotonic()
    code = sweep.code()
    text = sweep.log.read_text(encoding="utf-8")
    expect(
        f"a cancelled and a killed task: exit code 1, {time.monotonic() - begun:.0f} s later",
        code == 1,
        sweep,
    )
    expect(
        "both are named, with what Slurm says",
        all(each["run_id"] in text for each in (first, second))
        and "2 of 3 runs failed" in text
        and "CANCELLED" in text,
        sweep,
    )
    again = Sweep(folder / "losses", *runs, *engine)
    expect("the same command does what is left", again.code() == 0, again)
    expect("and submits nothing else", len([each for each in again.jobs() if each["begun"]]) == 2)
    expect_same(folder / "losses", folder / "one", runs=3)


def slurm(*command: str) -> None:
    """A command of Slurm."""
    subprocess.run(command, check=True)


def check_ray(settings: Sequence[str], folder: Path) -> None:
    """Everything on Ray."""
    with ray_cluster(folder) as address:
        engine = ("hydra/launcher=ray", f"hydra.launcher.ray.init.address={address}")
        sweep = Sweep(folder / "ray", SEEDS, *settings, *engine)
        wait_for("a task at work", lambda: sweep.has_begun(0))
        os.kill(sweep.jobs()[0]["process"]["pid"], signal.SIGKILL)
        expect("four runs end with 0", sweep.code() == 0, sweep)
        expect("the one whose worker was killed began twice", sweep.jobs()[0]["begun"] == 2, sweep)
        expect_same(folder / "ray", folder / "one", runs=4)
        sharded(engine, settings, folder)


@contextmanager
def ray_cluster(folder: Path) -> Iterator[str]:
    """A cluster on the loopback address that runs two tasks at a time; yields its address."""
    address, ray = "127.0.0.1:26379", str(Path(sys.executable).parent / "ray")
    if not Path(ray).is_file():
        raise SystemExit(f"needs the extra ray: {sys.executable} -m pip install -e '.[ray]'")
    temporary = folder / "ray-files"
    command = [
        ray,
        "start",
        "--head",
        "--block",
        "--num-cpus=2",
        "--include-dashboard=false",
        "--node-ip-address=127.0.0.1",
        "--port=26379",
        "--disable-usage-stats",
        f"--temp-dir={temporary}",
    ]
    with (folder / "ray.txt").open("w", encoding="utf-8") as log:
        head = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        said = folder / "ray.txt"
        wait_for("Ray", lambda: head.poll() is not None or _STARTED in said.read_text("utf-8"))
        if head.poll() is not None:
            raise SystemExit(said.read_text("utf-8"))
        yield address
    finally:
        head.terminate()
        head.wait(60)


def main() -> int:
    """Check one engine; the exit code."""
    parser = argparse.ArgumentParser(description=str(__doc__).partition("\n")[0])
    parser.add_argument("engine", choices=["slurm", "ray"])
    parser.add_argument("--folder", type=Path, help="work there, and keep it")
    options = parser.parse_args()
    os.environ.update(RAY_AUTH_MODE="disabled", RAY_raylet_start_wait_time_s="300")
    folder = options.folder or Path(tempfile.mkdtemp(prefix="sweeps-"))
    begun = time.monotonic()
    settings = (*SETTINGS, images_of_a_run(folder / "speed"))
    sweep = Sweep(folder / "one", SEEDS, *settings)
    expect("four runs in one process end with 0", sweep.code() == 0, sweep)
    {"slurm": check_slurm, "ray": check_ray}[options.engine](settings, folder)
    print(f"done in {time.monotonic() - begun:.0f} s")
    if not options.folder:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
