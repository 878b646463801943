"""A W&B server that is at fault costs a run one warning and a bounded wait, and changes nothing."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import wandb

from bigain.config import TrackingConfig
from bigain.errors import UserError
from bigain.launch.compose import compose_config
from bigain.runs.identity import resolved
from bigain.tracking import dashboard
from bigain.tracking.dashboard import build_client
from bigain.tracking.sink import TrackedRun, build_sinks
from bigain.tracking.view import View
from bigain.tracking.wandb_views import saved_views, send_views

HERE = Path(__file__).parent
ROW = {"metric": "acc1", "value": 50.0, "ci_low": 10.0, "ci_high": 90.0, "n": 4}

Start = Callable[..., Path]


@pytest.fixture(autouse=True)
def alone(tmp_path: Path) -> Iterator[None]:
    """W&B as in a process of its own, without a key, which waits for one second only."""
    waits = dict.fromkeys(("WANDB_INIT_TIMEOUT", "WANDB_FINISH_TIMEOUT", "WANDB_HTTP_TIMEOUT"), "1")
    plain = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    with (
        patch.dict(os.environ, {**plain, **waits, "HOME": str(tmp_path)}, clear=True),
        patch.object(dashboard, "_GIVEN_UP", set()),
        # Hydra, in an earlier test of this process, left a handler whose stream is closed now.
        patch.object(logging, "raiseExceptions", False),
    ):
        wandb.teardown()
        yield
        with suppress(ConnectionError):  # a test killed its service
            wandb.teardown()


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts a server with a fault for W&B; returns the folder of what it knows."""
    started = []

    def start(fault: str, after: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("server")
        command = [sys.executable, str(HERE / "wandb_server.py"), str(folder), fault, str(after)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout
        os.environ["WANDB_BASE_URL"] = process.stdout.readline().strip()
        os.environ["WANDB_API_KEY"] = "a" * 40
        return folder

    yield start
    for process in started:
        process.kill()
        process.communicate()


def known(folder: Path) -> dict[str, Any]:
    """What the server knows: run id -> history, summary, exit code."""
    runs: dict[str, Any] = json.loads((folder / "runs.json").read_text())
    return runs


def tracked(
    results: Path, name: str, tracking: TrackingConfig, first: int = 0, stop: int = 4
) -> None:
    """A run with four made-up records, of which this process computes `first` to `stop`."""
    folder = results / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    every = [
        {"image_id": at, "label": 0, "prediction": at % 2, "correct": at % 2 == 0}
        for at in range(4)
    ]
    plain = resolved(compose_config(["backbone=mini_unet"]))
    sinks = build_sinks(tracking)
    sinks.start(TrackedRun(name, folder, plain, tracking, 4, every[:first]))
    for record in every[first:stop]:
        sinks.record(record)
    if stop < len(every):
        sinks.fail(KeyboardInterrupt())
        return
    scores = '"[0.2, 0.1]"' if "table" in tracking.tags else ""
    lines = [f"{each['image_id']},0,{each['prediction']},true,{scores}" for each in every]
    text = "\n".join(["image_id,label,prediction,correct,scores", *lines, ""])
    (folder / "samples.csv").write_text(text)
    sinks.finish([ROW])


def wandb_settings(**told: Any) -> TrackingConfig:
    settings = compose_config(["backbone=mini_unet", "tracking=wandb"]).tracking
    return settings.model_copy(update=told)


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [
        each.getMessage()
        for each in caplog.records
        if each.levelno >= logging.WARNING and each.name.startswith("bigain")
    ]


@pytest.mark.parametrize(
    ("fault", "after", "reason"),
    [
        ("hang", 0, "CommError"),
        ("close", 0, "CommError"),
        ("500", 0, "CommError"),
        ("401", 0, "CommError"),
        ("hang", 2, "TimeoutError"),
        ("500", 2, "TimeoutError"),
    ],
    ids=str,
)
def test_a_server_at_fault_is_one_warning_for_all_runs_of_a_process(
    fault: str,
    after: int,
    reason: str,
    server: Start,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    server(fault, after)
    for name in ("first", "second"):
        tracked(tmp_path, name, wandb_settings(mode="online", tags=("table",)))
    (warning,) = warnings_of(caplog)
    assert f"wandb stopped ({reason}" in warning
    assert len(list((tmp_path / "wandb").glob("run-*-second"))) == 0
    wandb.teardown()
    assert capfd.readouterr() == ("", "")


def test_without_a_server_or_a_key_there_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    os.environ["WANDB_BASE_URL"] = "http://127.0.0.1:9"
    for name in ("first", "second"):
        tracked(tmp_path, name, wandb_settings(mode="online"))
    (warning,) = warnings_of(caplog)
    assert "API key" in warning
    assert capfd.readouterr() == ("", "")
    caplog.clear()
    dashboard._GIVEN_UP.clear()
    os.environ["WANDB_API_KEY"] = "a" * 40
    wandb.teardown()
    tracked(tmp_path, "third", wandb_settings(mode="online"))
    (warning,) = warnings_of(caplog)
    assert "connection refused" in warning


def test_a_run_that_was_interrupted_is_one_run_without_doubled_steps(
    server: Start, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.environ["WANDB_FINISH_TIMEOUT"] = os.environ["WANDB_INIT_TIMEOUT"] = "30"
    folder = server("none")
    tracked(tmp_path, "only", wandb_settings(mode="online"), 0, 2)
    assert known(folder)["only"]["code"] == 1
    tracked(tmp_path, "only", wandb_settings(mode="online"), 2, 4)
    assert warnings_of(caplog) == []
    ((name, run),) = known(folder).items()
    steps = [row["_step"] for row in run["history"]]
    assert (name, run["code"]) == ("only", 0)
    assert steps == sorted(set(steps))
    assert run["history"][-1]["confusion_matrix"]["_type"] == "image-file"
    last = [row["running_acc1"] for row in run["history"] if "running_acc1" in row][-1]
    assert last == 50.0
    assert {key: run["summary"][key] for key in ("acc1", "acc1_low", "acc1_n")} == {
        **{"acc1": 50.0, "acc1_low": 10.0, "acc1_n": 4}
    }


def test_a_service_of_wandb_that_is_killed_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    settings = wandb_settings(mode="offline")
    sinks = build_sinks(settings)
    plain = resolved(compose_config(["backbone=mini_unet"]))
    sinks.start(TrackedRun("only", tmp_path / "runs" / "only", plain, settings, 4, []))
    connection = wandb.setup()._connection
    assert connection is not None
    assert connection._proc is not None
    connection._proc._process.kill()
    connection._proc._process.wait()
    for _ in range(4):
        sinks.record({"image_id": 0, "label": 0, "prediction": 0, "correct": True})
    sinks.fail(KeyboardInterrupt())
    (warning,) = warnings_of(caplog)
    assert "wandb stopped" in warning
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("fault", ["file", "read-only"])
def test_a_folder_that_cannot_be_written_is_one_warning(
    fault: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if fault == "file":
        (tmp_path / "wandb").write_text("")
    else:
        (tmp_path / "wandb").symlink_to("/proc")
    for name in ("first", "second"):
        tracked(tmp_path, name, wandb_settings(mode="offline"))
    assert len(warnings_of(caplog)) == 1


def test_the_log_of_wandb_on_a_full_disk_says_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """`/dev/full` takes nothing; the handlers are those that W&B made for the run."""
    settings = wandb_settings(mode="offline")
    sinks, log = build_sinks(settings), logging.getLogger("wandb")
    plain = resolved(compose_config(["backbone=mini_unet"]))
    sinks.start(TrackedRun("only", tmp_path / "runs" / "only", plain, settings, 4, []))
    files = [each for each in log.handlers if isinstance(each, logging.FileHandler)]
    full = Path("/dev/full").open("w")  # noqa: SIM115 -- closing it raises what could not be written
    own = [each.setStream(full) for each in files]
    with patch.object(logging, "raiseExceptions", True), patch.object(log, "propagate", False):
        log.error("lost")
    for handler, stream in zip(files, own, strict=True):
        with suppress(OSError):
            handler.setStream(stream)  # type: ignore[arg-type]
    with suppress(OSError):
        full.close()
    sinks.fail(KeyboardInterrupt())
    assert files
    assert capfd.readouterr() == ("", "")


def test_a_wrong_environment_variable_of_wandb_is_one_warning_and_one_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    os.environ["WANDB_MODE"] = "on"
    for name in ("first", "second"):
        tracked(tmp_path, name, wandb_settings())
    (warning,) = warnings_of(caplog)
    assert "wandb stopped (Error: WANDB_MODE=on: Input should be 'online'" in warning
    client = build_client("wandb", wandb_settings())
    with pytest.raises(client.refusals, match=r"^WANDB_MODE=on: "):
        client.place(wandb_settings())


@pytest.mark.parametrize("fault", ["hang", "500", None])
def test_views_without_a_server_are_one_line(
    fault: str | None, server: Start, tmp_path: Path
) -> None:
    if fault is None:
        os.environ |= {"WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_API_KEY": "a" * 40}
    else:
        server(fault)
    build_client("wandb", wandb_settings())
    plain = resolved(compose_config(["backbone=mini_unet"]))
    with pytest.raises(UserError, match=r"^--views: .*; allowed: a server that answers"):
        send_views(saved_views([View.of("only", plain)], "team"), tmp_path / "sent.json")
    assert not (tmp_path / "sent.json").exists()


def test_environment_variables_of_wandb_keep_their_meaning(server: Start, tmp_path: Path) -> None:
    os.environ["WANDB_FINISH_TIMEOUT"] = os.environ["WANDB_INIT_TIMEOUT"] = "30"
    folder = server("none")
    os.environ |= {"WANDB_PROJECT": "theirs", "WANDB_ENTITY": "team", "WANDB_TAGS": "a,b"}
    os.environ |= {"WANDB_RUN_GROUP": "grouped", "WANDB_DIR": str(tmp_path / "elsewhere")}
    (tmp_path / "elsewhere").mkdir()
    tracked(tmp_path, "only", wandb_settings())
    run = known(folder)["only"]
    assert (run["project"], run["entity"], run["groupName"]) == ("theirs", "team", "grouped")
    assert {"a", "b", "mini_unet"} <= set(run["tags"])
    assert list((tmp_path / "elsewhere" / "wandb").glob("run-*-only"))
    assert not (tmp_path / "wandb").exists()
    wandb.teardown()
    os.environ["WANDB_MODE"] = "disabled"
    tracked(tmp_path, "another", wandb_settings())
    assert known(folder).keys() == {"only"}


def test_finished_runs_are_remembered_by_the_place_where_they_are_shown() -> None:
    os.environ |= {"WANDB_PROJECT": "theirs", "WANDB_MODE": "offline"}
    client, settings = build_client("wandb", wandb_settings()), wandb_settings()
    server = "http://127.0.0.1:9"
    os.environ["WANDB_BASE_URL"] = server
    assert client.place(settings) == f"{server}|None|theirs|offline"
    own = wandb_settings(project="mine", entity="team", mode="online")
    assert client.place(own) == f"{server}|team|mine|online"
    wandb.teardown()
    os.environ["WANDB_MODE"] = "disabled"
    with pytest.raises(UserError, match=r"WANDB_MODE=disabled: .*allowed: online, offline"):
        client.place(settings)
