"""Commit finished runs without their folders: `python scripts/publish.py RUN_ID ...`.

Each gives `results/<profile>/samples/<run_id>.csv.gz` and its rows in `results/<profile>/runs.csv`.
"""

import argparse
import sys
from pathlib import Path

from bigain.cli.arguments import find_runs
from bigain.errors import UserError
from bigain.runs.collect import publish_run

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Publish the named runs; 2 and one line for a run that cannot be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", nargs="+", help="id of a finished run, or its beginning")
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    options = parser.parse_args(arguments)
    try:
        for name in find_runs(options.results, options.run):
            print(publish_run(options.results, name))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
