"""`bigain gc`: what killed processes left behind, and caches over their bound.

Only shows them; `--delete` deletes them.  Nothing that a process uses is touched.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from bigain.cli.arguments import VerbParser, results_folder
from bigain.config import RunConfig
from bigain.runs.files import need_results
from bigain.runs.orphans import Orphan, find_orphans

__all__ = ["main"]

_UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


def main(arguments: Sequence[str]) -> int:
    """List the orphans, or delete them."""
    parser = VerbParser("gc", "List what killed processes left behind, and surplus of caches.")
    parser.add_argument("--delete", action="store_true", help="delete what is listed")
    options = parser.parse_args(arguments)
    results = results_folder(options.results)
    need_results(results)
    orphans = [*find_orphans(results), *_surplus(results)]
    if not orphans:
        sys.stdout.write(f"nothing is orphaned in {results}\n")
        return 0
    if options.delete:
        orphans = [orphan for orphan in orphans if orphan.delete()]
    rows = [(_shown(each.path, results), each.kind, _bytes(each.size)) for each in orphans]
    total = f"{len(orphans)} files, {_bytes(sum(each.size for each in orphans))}"
    done = "deleted" if options.delete else "to delete them: bigain gc --delete"
    sys.stdout.write(tabulate(rows, ["file", "what it is", "size"], disable_numparse=True))
    sys.stdout.write(f"\n{total}; {done}\n")
    return 0


def _surplus(results: Path) -> list[Orphan]:
    """The least recently used entries of caches that are over their bound."""
    config = _config(results)
    folders = [config.paths.cache / name for name in ("latents", "prompts")]
    if not any(map(Path.is_dir, folders)):
        return []
    from bigain.backbones.cache import TensorCache  # noqa: PLC0415 -- imports torch

    return [
        Orphan(path, "cache over its bound", size)
        for folder in folders
        for path, size in TensorCache(folder, config.cache.gigabytes).surplus()
    ]


def _config(results: Path) -> RunConfig:
    from bigain.launch.compose import compose_config  # noqa: PLC0415 -- loads hydra

    return compose_config([f"paths.results={results}"])


def _shown(path: Path, results: Path) -> str:
    return str(path.relative_to(results) if path.is_relative_to(results) else path)


def _bytes(size: int) -> str:
    for name, unit in _UNITS:
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} B"
