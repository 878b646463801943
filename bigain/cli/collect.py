"""`bigain collect`: the metrics of all finished runs in one CSV per profile."""

import sys
from collections.abc import Sequence

from bigain.cli.arguments import VerbParser, results_folder
from bigain.runs.check import examine_published
from bigain.runs.collect import collect
from bigain.runs.files import check_results, need_results
from bigain.runs.store import damaged_runs

__all__ = ["main"]


def main(arguments: Sequence[str]) -> int:
    """Write `<results>/<profile>/runs.csv`, print the paths; name the runs that are left out.

    With `--check`, compare what is published instead, print how many runs agree, and what could
    not be computed again.
    """
    parser = VerbParser("collect", "Gather the metrics of all finished runs.")
    parser.add_argument(
        "--check",
        action="store_true",
        help="write nothing; compare metrics, records and manifests of all published runs",
    )
    options = parser.parse_args(arguments)
    results = results_folder(options.results)
    if options.check:
        need_results(results)
        checked = examine_published(results)
        counts = ", ".join(f"{profile}: {each.runs} runs" for profile, each in checked.items())
        sys.stdout.write(f"published runs agree: {counts or 'there are none'}\n")
        for profile, each in checked.items():
            for metrics, runs in each.as_stated.items():
                sys.stdout.write(
                    f"{profile}: {', '.join(metrics)} of {len(runs)} runs could not be computed "
                    f"again from what is published: {', '.join(runs)}\n"
                )
        return 0
    check_results(results)
    sys.stderr.write("".join(f"left out: {damage}\n" for damage in damaged_runs(results).values()))
    written = collect(results)
    if not written:
        sys.stdout.write(f"no finished run in {results / 'runs'}\n")
    sys.stdout.write("".join(f"{path}\n" for path in written))
    return 0
