"""`bigain dashboard`: finished runs on a page of this machine, without an account.

The runs go into Trackio's folder, beside those that `tracking=trackio` showed while they were made,
and so do curves of them (`bigain.tracking.curves`).
The page is served on 127.0.0.1 alone, until Ctrl-C.
"""

import io
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from dataclasses import asdict
from pathlib import Path
from threading import Event
from typing import Any

from bigain.cli.arguments import VerbParser, name_argument
from bigain.cli.shown_runs import Choice, add_choice, choose_runs, show_runs
from bigain.config import TrackingConfig
from bigain.errors import UserError
from bigain.tracking.view import summary, with_flops

__all__ = ["main"]

_HOST = "127.0.0.1"


def main(arguments: Sequence[str]) -> int:
    """Show the runs that are named, or all of them, and serve the page until Ctrl-C."""
    parser = VerbParser("dashboard", "Show finished runs on a local page, in Trackio.")
    add_choice(parser)
    parser.add_argument("--project", type=name_argument, help="default: bigain")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860 on")
    parser.add_argument("--no-page", action="store_true", help="only fill Trackio's folder")
    options = parser.parse_args(arguments)
    options.all = options.all or not (options.runs or options.table)
    if options.port is not None and not 1 <= options.port <= 65535:
        raise UserError(f"--port={options.port}: allowed: 1 to 65535")
    choice = choose_runs("dashboard", options)
    told = {"project": options.project, "mode": "offline"}
    curves = _curves(choice, show_runs("dashboard", "trackio", choice, told))
    if not options.no_page:
        _serve(choice.archive.results, options.project, options.port, curves)
    return 0


def _curves(choice: Choice, tracking: TrackingConfig) -> dict[str, str]:
    """Show the curves of these runs; returns the title of each picture, and its query.

    Raises:
        UserError: Trackio cannot write its files.

    """
    from bigain.tracking.curves import show_curves  # noqa: PLC0415 -- optional
    from bigain.tracking.trackio_client import TrackioClient  # noqa: PLC0415 -- optional

    try:
        return dict(show_curves(_summaries(choice), tracking, choice.archive.results))
    except TrackioClient.refusals as error:
        reason = " ".join(str(error).split())
        raise UserError(f"dashboard: {reason}; allowed: {TrackioClient.remedy}") from error


def _summaries(choice: Choice) -> Iterator[tuple[Mapping[str, Any], Mapping[str, float]]]:
    """Configuration and summary of each run, without its records."""
    for name in choice.names:
        manifest = choice.archive.manifest(name)
        if manifest is not None:
            rows = map(asdict, choice.archive.metrics(name).values())
            yield manifest["config"], summary(with_flops(rows, manifest["config"]))


def _serve(results: Path, project: str | None, port: int | None, curves: Mapping[str, str]) -> None:
    """Serve the page until Ctrl-C.

    Raises:
        UserError: The port is taken, or the page cannot be served.

    """
    from bigain.tracking.trackio_client import PROJECT, load_trackio  # noqa: PLC0415 -- optional

    page, name = load_trackio(results), project or PROJECT
    # Trackio would print an address with a key to change what is shown; it also asks its page once
    # whether it is there, which no proxy can answer.
    with redirect_stdout(io.StringIO()), _without_proxies():
        try:
            server, address, *_ = page.show(
                project=name,
                mcp_server=False,
                open_browser=False,
                block_thread=False,
                host=_HOST,
                share=False,
                server_port=port,
            )
        except OSError as error:
            raise _cannot_be_served(port, error) from error
    try:
        sys.stdout.write(f"{address}?project={name}  (Ctrl-C ends it)\n")
        for title, query in curves.items():
            sys.stdout.write(f"{title}: {address}?{query}\n")
        sys.stdout.flush()
        Event().wait()
    except KeyboardInterrupt:
        sys.stdout.write("\n")
    finally:
        server.close()


def _cannot_be_served(port: int | None, error: OSError) -> UserError:
    """Trackio raises a plain OSError, without a number, if it finds no free port."""
    reason = " ".join(str(error).split())
    if error.errno is not None:
        allowed = "--no-page, which only fills the folder"
        return UserError(f"dashboard: the page cannot be served ({reason}); allowed: {allowed}")
    if port is None:
        return UserError(f"dashboard: {reason}; allowed: --port with a free port")
    return UserError(f"--port={port}: is taken, or not yours; allowed: a free one, or none")


@contextmanager
def _without_proxies() -> Iterator[None]:
    before: dict[str, Any] = dict(os.environ)
    for name in before:
        if name.lower() in ("http_proxy", "https_proxy", "all_proxy"):
            del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(before)
