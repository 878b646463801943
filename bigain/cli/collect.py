"""`bigain collect`: the metrics of all finished runs in one CSV per profile."""

import sys
from collections.abc import Sequence

from bigain.cli.arguments import VerbParser, results_folder
from bigain.runs.collect import collect
from bigain.runs.folder import check_results
from bigain.runs.store import damaged_runs

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Write `<results>/<profile>/runs.csv`, print the paths; name the runs that are left out."""
    parser = VerbParser("collect", "Gather the metrics of all finished runs.")
    results = results_folder(parser.parse_args(arguments).results)
    check_results(results)
    sys.stderr.write("".join(f"left out: {damage}\n" for damage in damaged_runs(results).values()))
    written = collect(results)
    if not written:
        sys.stdout.write(f"no finished run in {results / 'runs'}\n")
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0
