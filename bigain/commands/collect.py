"""`bigain collect`: the metrics of all finished runs in one CSV per profile."""

import sys
from collections.abc import Sequence

from bigain.commands.arguments import VerbParser, results_folder
from bigain.runs.collect import collect

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Write `<results>/<profile>/runs.csv`, print the paths."""
    parser = VerbParser("collect", "Gather the metrics of all finished runs.")
    results = results_folder(parser.parse_args(arguments).results)
    written = collect(results)
    if not written:
        sys.stdout.write(f"no finished run in {results / 'runs'}\n")
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0
