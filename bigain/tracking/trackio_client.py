"""Trackio: pages on this machine, without an account (https://github.com/gradio-app/trackio).

Its files are in `<results>/trackio`, unless `TRACKIO_DIR` names another folder.  Trackio reads this
variable once, when it is imported, and reports its faults as warnings only; both are handled here.
"""

import contextvars
import io
import math
import os
import shutil
import sqlite3
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from bigain.config import TrackingConfig
from bigain.tracking.dashboard import Dashboard
from bigain.tracking.pictures import Media, Table
from bigain.tracking.view import View

__all__ = ["PROJECT", "TrackioClient", "TrackioSink", "load_trackio"]

PROJECT = "bigain"

_FOLDER = "TRACKIO_DIR"
_REMOTE = ("TRACKIO_SPACE_ID", "TRACKIO_SERVER_URL", "TRACKIO_BUCKET_ID")
_INTERVAL = ("metric", "value", "ci_low", "ci_high", "n", "unit")

if find_spec("trackio") is None:
    raise ImportError("No module named 'trackio'")


class TrackioClient:
    """The client of Trackio."""

    name = "trackio"
    refusals: tuple[type[Exception], ...] = (OSError, ValueError, sqlite3.Error)
    remedy = "a folder that can be written, <paths.results>/trackio or that in TRACKIO_DIR"
    keeps_steps = False

    def place(self, tracking: TrackingConfig) -> str:
        """Project, and the folder or server that Trackio's own variables name."""
        names = (_FOLDER,) if tracking.mode == "offline" else (_FOLDER, *_REMOTE)
        named = [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]
        return "|".join([tracking.project or PROJECT, *named])

    def open(
        self, view: View, tracking: TrackingConfig, results: Path, done: int
    ) -> "_TrackioPage":
        """The page of `view`, new or continued; if the whole run is shown again, an old one goes.

        With `tracking.mode=offline` it is local, whatever server Trackio's own variables name.

        Raises:
            OSError, sqlite3.Error: Trackio cannot write its files.
            ValueError: It refuses the name of the project.

        """
        trackio = load_trackio(results)
        project, name = tracking.project or PROJECT, _name(view)
        if not done:
            _delete(trackio, project, name)
        hidden = _REMOTE if tracking.mode == "offline" else ()
        with _without(hidden), _faults_raised():
            # In a context of its own, Trackio does not end the page of another run.
            run = contextvars.Context().run(
                trackio.init,
                project=project,
                name=name,
                group=view.group,
                config=_config(view),
                resume="allow",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
        return _TrackioPage(trackio, run)


class TrackioSink(Dashboard):
    """The tracker `trackio`."""

    def __init__(self) -> None:
        super().__init__(TrackioClient())


class _TrackioPage:
    def __init__(self, trackio: Any, run: Any) -> None:
        self._trackio, self._run = trackio, run
        self._faults: list[str] = []
        # Its thread would warn and go on; the first fault ends this page instead.
        run._warn_once = lambda _key, message: self._faults.append(message)

    def log(self, point: Mapping[str, float], step: int) -> None:
        self._do(lambda: self._run.log(dict(point), step=step))

    def show(self, metrics: Sequence[Mapping[str, Any]], media: Media, step: int) -> None:
        shown: dict[str, Any] = {row["metric"]: row["value"] for row in metrics if _is_known(row)}
        intervals = Table(_INTERVAL, [[row[key] for key in _INTERVAL] for row in metrics])
        tables = {"metrics_with_intervals": intervals, **media.tables}
        shown |= {name: self._trackio.Image(each) for name, each in media.pictures.items()}
        shown |= {
            name: self._trackio.Table(columns=[*each.columns], data=[[*row] for row in each.rows])
            for name, each in tables.items()
        }
        self._do(lambda: self._run.log(shown, step=step))

    def finish(self, *, failed: bool = False) -> None:
        del failed  # Trackio has no such mark
        self._do(self._run.finish)

    def _do(self, call: Callable[[], object]) -> None:
        with _faults_raised():
            call()
        if self._faults:
            raise OSError(self._faults[0])


def load_trackio(results: Path) -> Any:
    """The module of Trackio, with its files in `TRACKIO_DIR` or in `results`/trackio."""
    folder = os.environ.get(_FOLDER) or str(results / "trackio")
    loaded = sys.modules.get("trackio")
    if loaded is None or str(loaded.TRACKIO_DIR) != folder:
        for name in [each for each in sys.modules if each.partition(".")[0] == "trackio"]:
            del sys.modules[name]
        with _without((_FOLDER,)):
            os.environ[_FOLDER] = folder
            trackio = import_module("trackio")
        # It would ask a server for the name of the user, and keep it.
        trackio.Run._get_username = lambda _run: None
    return sys.modules["trackio"]


def _is_known(row: Mapping[str, Any]) -> bool:
    return row["value"] is not None and not math.isnan(row["value"])


def _name(view: View) -> str:
    """Trackio knows a run by its name, and lists names with commas."""
    return f"{view.name} {view.run_id[:8]}".replace(",", ";").replace("/", "-")


def _config(view: View) -> dict[str, Any]:
    """The configuration with plain values at its top, because Trackio groups runs by these only."""
    nouns = ("backbone", "dataset", "operator", "task")
    names = {f"{noun}_name": view.config[noun]["name"] for noun in nouns}
    settings = {
        key: value
        for key, value in view.config["operator"].items()
        if key != "name" and isinstance(value, str | int | float)
    }
    merged = {**settings, **view.config, **names, "run_id": view.run_id, "tags": [*view.tags]}
    return {key: value for key, value in merged.items() if not key.startswith("_")}


def _delete(trackio: Any, project: str, name: str) -> None:
    with suppress(ValueError):  # there is no such project
        for run in trackio.Api().runs(project):
            if run.name == name and run.delete():
                shutil.rmtree(trackio.get_project_media_path(project=project, run=name))


@contextmanager
def _faults_raised() -> Iterator[None]:
    """Raise OSError for what Trackio only warns of, and keep its lines off the terminal."""
    with redirect_stdout(io.StringIO()), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    for each in caught:
        if f"{os.sep}trackio{os.sep}" in each.filename:
            raise OSError(" ".join(str(each.message).split()))


@contextmanager
def _without(names: Sequence[str]) -> Iterator[None]:
    """The environment without these variables; afterwards they are as before."""
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)
