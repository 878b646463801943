"""Sweeps through pools of processes, with workers killed, give the files of one process."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest

from bigain.launch.compose import compose_configs
from bigain.launch.plan import PlannedRun
from bigain.launch.sweep import launch_runs
from bigain.runs.sweeps import sweep_folders

pytestmark = pytest.mark.slow

POOL = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SMALL = ("task.trial_list=[1,2]", "dataset.limit=24")


def planned(results: Path, *commands: tuple[str, ...]) -> list[PlannedRun]:
    whole = [(*command, *SMALL, f"paths.results={results}") for command in commands]
    configs = compose_configs(whole)
    return [PlannedRun(o, config) for o, config in zip(whole, configs, strict=True)]


def files(results: Path) -> dict[str, bytes]:
    found = [*results.glob("runs/*/samples.csv"), *results.glob("runs/*/metrics.csv")]
    return {f"{path.parent.name}/{path.name}": path.read_bytes() for path in found}


def kill_a_worker(results: Path) -> None:
    """Kill the process of the first job that has a record on disk and is not done."""
    for _ in range(6000):
        for sweep in sweep_folders(results):
            for job in sweep.jobs().values():
                journals = results.glob(f"runs/{job.run_id}/journal-*")
                if job.state == "running" and any(path.stat().st_size for path in journals):
                    os.kill(job.process["pid"], signal.SIGKILL)
                    return
        time.sleep(0.05)


@pytest.mark.parametrize("engine", [POOL, ("hydra/launcher=submitit_local",)])
def test_a_sweep_gives_the_files_of_one_process(tmp_path: Path, engine: tuple[str, ...]) -> None:
    seeds = [(f"seed={n}",) for n in range(3)]
    assert launch_runs(planned(tmp_path / "one", *seeds)) == {}
    assert launch_runs(planned(tmp_path / "many", *seeds), engine) == {}
    assert len(files(tmp_path / "one")) == 6
    assert files(tmp_path / "many") == files(tmp_path / "one")


def test_a_killed_worker_costs_no_run(tmp_path: Path) -> None:
    seeds = [(f"seed={n}",) for n in range(3)]
    assert launch_runs(planned(tmp_path / "one", *seeds)) == {}
    killer = threading.Thread(target=kill_a_worker, args=[tmp_path / "many"], daemon=True)
    killer.start()
    assert launch_runs(planned(tmp_path / "many", *seeds), POOL) == {}
    killer.join()
    (sweep,) = sweep_folders(tmp_path / "many")
    assert max(job.begun for job in sweep.jobs().values()) == 2
    assert files(tmp_path / "many") == files(tmp_path / "one")


def test_a_run_in_shards_is_merged_by_the_last_one(tmp_path: Path) -> None:
    shards = [(f"shard.index={n}", "shard.count=4") for n in range(4)]
    assert launch_runs(planned(tmp_path / "one", ())) == {}
    assert launch_runs(planned(tmp_path / "many", *shards), POOL) == {}
    assert len(files(tmp_path / "one")) == 2
    assert files(tmp_path / "many") == files(tmp_path / "one")
