"""`bigain sync-wandb`: finished runs in a W&B dashboard, from the run store or a fresh clone."""

from collections.abc import Sequence

from bigain.cli.arguments import VerbParser
from bigain.cli.shown_runs import add_choice, choose_runs, show_runs

__all__ = ["main"]

_MODES = ("online", "offline")


def main(arguments: Sequence[str]) -> int:
    """Show the runs that are named; what is shown already is left alone."""
    parser = VerbParser("sync-wandb", "Show finished runs in a W&B dashboard.")
    add_choice(parser)
    parser.add_argument("--mode", choices=_MODES, help="default: WANDB_MODE, or online")
    parser.add_argument("--project", help="default: WANDB_PROJECT, or bigain")
    parser.add_argument("--entity", help="default: your own")
    options = parser.parse_args(arguments)
    told = {key: getattr(options, key) for key in ("mode", "project", "entity")}
    show_runs("sync-wandb", "wandb", choose_runs("sync-wandb", options), told)
    return 0
