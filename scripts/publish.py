"""Commit finished runs without their folders: `python scripts/publish.py RUN_ID ...`.

Each gives `results/<profile>/samples/<run_id>.csv.gz`, its rows in `results/<profile>/runs.csv`,
its manifest, and the errors or features that it kept.  A generation from before features were kept
gets them from its images, if these are still there; otherwise a line on stderr says so.
"""

import argparse
import sys
from pathlib import Path

from bigain.cli.arguments import find_runs
from bigain.engine.keep_features import keep_features
from bigain.errors import UserError
from bigain.runs.collect import publish_run
from bigain.runs.store import RunStore

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Publish the named runs; 2 and one line for a run that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="+", help="id of a finished run, or its beginning")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    options = parser.parse_args(arguments)
    try:
        for name in find_runs(options.results, options.run):
            _publish(options.results, name)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _publish(results: Path, run_id: str) -> None:
    store = RunStore(results, run_id)
    lacking = keep_features(store) if store.is_finished() else None
    if lacking:
        sys.stderr.write(f"run_id={run_id}: is published without features: {lacking}\n")
    print(publish_run(results, run_id))


if __name__ == "__main__":
    sys.exit(main())
