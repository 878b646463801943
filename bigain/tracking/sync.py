"""Finished runs in a dashboard, from the run store or from what is published of them.

What was shown already is left alone.  So a second call does nothing, and one that was interrupted
goes on.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from bigain.config import TrackingConfig
from bigain.tracking.dashboard import Client, remember, show_whole
from bigain.tracking.finished import Finished, Shown

__all__ = ["sync"]


def sync(
    runs: Iterable[Finished], client: Client, tracking: TrackingConfig, results: Path
) -> Iterator[bool]:
    """Show each of `runs` in the dashboard of `client`; yields whether it was new or had changed.

    What was shown is remembered, also if a later run fails.

    Args:
        runs: The runs.
        client: The client of the tracker.
        tracking: What the user told the tracker.
        results: The folder of the run store.

    Raises:
        UserError: The tracker is told to show nothing.
        Exception: The tracker cannot be reached, or refuses.

    """
    shown = Shown(results / client.name, client.place(tracking))
    for run in runs:
        is_new = run not in shown
        if is_new:
            page = client.open(run.view, tracking, results, 0)
            show_whole(page, run)
            page.finish()
            remember(client, shown, run)
        yield is_new
