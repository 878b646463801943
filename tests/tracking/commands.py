"""Runs and verbs in processes of their own, and what W&B and Trackio then have on disk."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
QUICK = ("dataset.limit=3", "task.trial_list=[1]", "task.keep_list=[1]", "backbone=mini_unet")


def environment(**more: str) -> dict[str, str]:
    """The environment without the variables of W&B and Trackio, and with `more`."""
    names = ("WANDB", "TRACKIO")
    plain = {key: value for key, value in os.environ.items() if not key.startswith(names)}
    return {**plain, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **more}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "bigain", *arguments]


def bigain(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, env=environment(**more)
    )


def started(*arguments: str, **more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        command(*arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(**more),
    )


def program(name: str) -> str:
    """A command of the environment of this Python."""
    return str(Path(sys.executable).with_name(name))


def logs(results: Path) -> dict[str, list[Path]]:
    """Run id -> the files of its offline W&B runs, the oldest first."""
    found: dict[str, list[Path]] = {}
    for path in sorted((results / "wandb").glob("offline-run-*/run-*.wandb")):
        found.setdefault(path.stem.removeprefix("run-"), []).append(path)
    return found


@cache
def read_back(path: Path, *options: str) -> str:
    """A W&B file as its own reader tells it."""
    reader = [program("wandb"), "leet", "inspect", "--json", *options, str(path)]
    return subprocess.run(reader, capture_output=True, text=True, check=True).stdout


def points(path: Path) -> dict[int, dict[str, Any]]:
    """Step -> what a W&B file has there."""
    lines = [json.loads(line) for line in read_back(path).splitlines()]
    items = [line["history"]["item"] for line in lines if line["type"] == "history"]
    merged: dict[int, dict[str, Any]] = {}
    for item in items:
        merged.setdefault(item["_step"], {}).update(item)
    assert [item["_step"] for item in items] == sorted(item["_step"] for item in items)
    return merged


def query(folder: Path, sql: str) -> list[dict[str, Any]]:
    """Rows of Trackio's database."""
    done = subprocess.run(
        [program("trackio"), *("query", "project", "--project", "bigain"), "--sql", sql, "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=environment(TRACKIO_DIR=str(folder)),
    )
    rows: list[dict[str, Any]] = json.loads(done.stdout)["rows"]
    return rows


def pages(folder: Path) -> dict[str, tuple[dict[str, Any], list[tuple[int, dict[str, Any]]]]]:
    """Run id -> configuration and logged points of its page in Trackio."""
    configs = query(folder, "SELECT run_name, config FROM configs")
    logged = query(folder, "SELECT run_name, step, metrics FROM metrics ORDER BY id")
    found = {}
    for row in configs:
        config = json.loads(row["config"])
        own = [each for each in logged if each["run_name"] == row["run_name"]]
        found[config["run_id"]] = (
            config,
            [(each["step"], json.loads(each["metrics"])) for each in own],
        )
    return found
