"""All benchmarks with short settings, then the page of their results; `make bench`.

Each part is a script that also runs alone, with more settings.  It writes
`results/benchmarks/PART.csv`; `README.md` beside the files is made of all that are there.
`--quick` measures so little that the numbers say nothing: it tries whether all parts run, and
writes into a temporary folder unless `--results` names one.
"""

import argparse
import os
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from page import write_page
from timing import ROOT

from bigain.errors import in_one_line
from bigain.runs.files import make_results

__all__ = ["COMMITTED", "PARTS", "Part", "main"]

COMMITTED = ROOT / "results" / "benchmarks"
"""The folder of the files that are committed."""


class Part(NamedTuple):
    """A benchmark.

    Attributes:
        script: Its file in this folder, without .py.
        short: Its settings here.
        quick: More settings, for `--quick`.

    """

    script: str
    short: str
    quick: str

    def command(self, is_quick: bool) -> str:
        """What a user types for it, without --csv."""
        settings = f"{self.short} {self.quick if is_quick else ''}".strip()
        return f"python benchmarks/{self.script}.py {settings}".strip()


PARTS = {
    "engine": Part(
        "engine",
        "--backbones mini_unet mini_dit --images 3 --sizes 10 32 --processes 2",
        "--backbones mini_unet --images 1 --sizes 32 --rounds 1 --processes 1 "
        "--variants ours 'plain loop'",
    ),
    "full_size": Part(
        "engine",
        "--backbones sd20 dit_xl2_512 --rounds 2 --processes 2",
        "--backbones mini_dit --images 1 --sizes 32 --rounds 1 --processes 1",
    ),
    "operators": Part("operators", "", "--repeats 1 --processes 1 --shapes 1"),
    "mini_unet": Part(
        "unet",
        "--backbone mini_unet --batch 4 --threads 1 --repeats 40 --processes 5",
        "--repeats 2 --processes 1",
    ),
    "sd20": Part(
        "unet",
        "--repeats 2 --only tomesd ToMe LGTM ToDo IEKVD",
        "--backbone mini_unet --repeats 1",
    ),
    "frechet": Part("frechet", "", "--images 4 --rounds 1"),
    "peak": Part("peak", "--processes 2", "--backbones mini_unet --rounds 1 --processes 1"),
    "growth": Part("growth", "--processes 2", "--points 2 --rounds 1 --processes 1"),
    "precision": Part("precision", "", "--backbones mini_unet --count 2"),
    "harness": Part("harness", "--images 12 --repeats 2", "--images 2 --repeats 1"),
    "workers": Part(
        "workers", "--images 10 --rounds 4", "--backbones mini_unet --images 4 --rounds 1"
    ),
}
"""Part -> what it runs; two cores must be idle."""


def main(argv: list[str] | None = None) -> int:
    """Run the parts and write the page; 1 if a part failed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--page", action="store_true", help="measure nothing, write the page")
    parser.add_argument(
        "--results", type=Path, help="default: results/benchmarks, with --quick a temporary folder"
    )
    options = parser.parse_args(argv)
    results = options.results or COMMITTED
    if options.quick and options.results is None:
        results = Path(tempfile.mkdtemp(prefix="bigain-bench-"))
        print(f"into {results}", flush=True)
    make_results(results, "--results")
    failed = []
    for name in [] if options.page else options.only:
        command = PARTS[name].command(options.quick)
        print(f"{name}: {command}", flush=True)
        words = [sys.executable, *shlex.split(command)[1:]]
        words += ["--csv", str(results / f"{name}.csv")]
        started, used = time.monotonic(), _children()
        if subprocess.run(words, cwd=ROOT, check=False).returncode:
            failed.append(name)
        seconds, processor = time.monotonic() - started, _children() - used
        print(f"{name}: {seconds:.0f} s, {processor:.0f} s of the processor\n", flush=True)
    write_page(results)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return 1 if failed else 0


def _children() -> float:
    """Seconds of the processor that the processes started here have used."""
    times = os.times()
    return times.children_user + times.children_system


if __name__ == "__main__":
    sys.exit(in_one_line(main))
