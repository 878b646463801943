"""`bigain sync-wandb`: finished runs in a W&B dashboard, from the run store or a fresh clone."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from bigain.cli.arguments import VerbParser, name_argument
from bigain.cli.shown_runs import Choice, add_choice, choose_runs, show_runs
from bigain.errors import UserError
from bigain.tracking.view import View

__all__ = ["main"]

_MODES = ("online", "offline")


def main(arguments: Sequence[str]) -> int:
    """Show the runs that are named; what is shown already is left alone."""
    parser = VerbParser("sync-wandb", "Show finished runs in a W&B dashboard.")
    add_choice(parser)
    parser.add_argument("--mode", choices=_MODES, help="default: WANDB_MODE, or online")
    parser.add_argument("--project", type=name_argument, help="default: WANDB_PROJECT, or bigain")
    parser.add_argument("--entity", type=name_argument, help="default: your own")
    parser.add_argument(
        "--views",
        action="store_true",
        help="also save views of comparable runs in W&B (docs/tracking.md); offline into a file",
    )
    options = parser.parse_args(arguments)
    told = {key: getattr(options, key) for key in ("mode", "project", "entity")}
    choice = choose_runs("sync-wandb", options)
    show_runs("sync-wandb", "wandb", choice, told)
    if options.views:
        for line in _views(choice, told):
            sys.stdout.write(f"{line}\n")
    return 0


def _views(choice: Choice, told: Mapping[str, Any]) -> list[str]:
    """Save the views of these runs; returns their addresses, or the file they are in."""
    try:
        # Slow to import, and optional.
        from bigain.tracking.wandb_views import (  # noqa: PLC0415
            is_offline,
            saved_views,
            send_views,
            write_views,
        )
    except ImportError as error:
        raise UserError(
            f'--views: {error}; allowed: with wandb-workspaces: pip install "bigain[wandb]"'
        ) from error

    found = ((name, choice.archive.manifest(name)) for name in choice.names)
    runs = [View.of(name, manifest["config"]) for name, manifest in found if manifest]
    views = saved_views(runs, told["entity"], told["project"])
    folder = choice.archive.results / "wandb"
    if is_offline(told["mode"]):
        write_views(folder / "views.json", views)
        return [str(folder / "views.json")]
    return send_views(views, folder / "views_sent.json")
