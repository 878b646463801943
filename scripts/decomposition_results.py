"""What docs/decomposition.md registered, from the finished runs: CSV, Markdown and a figure.

    python scripts/decomposition_results.py --results results

Reads the runs of `scripts/decomposition.py`, in their folders or published, and writes
`decomposition.csv`, `decomposition.md` and `figures/decomposition.{svg,png}` into
`<results>/mini`; of the repository's own results also the tables of docs/decomposition.md.  A run
that is missing has no row.
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from decomposition import (
    BACKBONES,
    BASELINE,
    EXPLORATORY,
    REGISTERED_SEEDS,
    VARIANTS,
    Run,
    narrowing,
    planned,
    registered,
)
from decomposition_figure import draw
from decomposition_page import markdown, page_parts
from marks import between

from bigain.errors import in_one_line
from bigain.files import replace_text
from bigain.launch.compose import compose_config
from bigain.metrics.intervals import PairedResult, Values, holm, paired_difference
from bigain.metrics.trials import Scale, Trials
from bigain.runs.archive import Archive
from bigain.runs.identity import run_id
from bigain.runs.pairing import FinishedRun, check_pair, read_finished
from bigain.runs.trials import read_trials
from bigain.tables.bounds import level_bounds
from bigain.tables.ranks import LEVEL

__all__ = ["DELTA", "EXPLORED", "HYPOTHESES", "TESTS", "Finished", "main", "rows", "verdict"]

ROOT = Path(__file__).parents[1]

DELTA = level_bounds()["best_margin"]
"""Half the width of what counts as level, in units of sigma_t."""

HYPOTHESES = {
    "H1": ("ToMe, per forward", "ToMe, paired", "below"),
    "H2": ("L-GTM, Eq. 7", "ToMe, paired", "above"),
    "H3": ("L-GTM, as released", "random, per sample", "level"),
    "H4": ("L-GTM, replicate", "L-GTM, Eq. 7", "above"),
    "H5": ("L-GTM, shared", "L-GTM, Eq. 7", "above"),
    "H6": ("L-GTM, as released", "ToMe, per forward", "above"),
}
"""Name -> (first, second, where first - second is expected)."""

EXPLORED = (
    ("L-GTM, as released", "ToMe, paired"),
    ("L-GTM, shared", "ToMe, paired"),
    ("L-GTM, shared", "random, per sample"),
    ("ToMe, one plan", "ToMe, paired"),
    ("L-GTM, shared", "ToMe, one plan"),
)
"""What was not registered, and is described without a test: (first, second)."""

TESTS = len(BACKBONES) * len(HYPOTHESES)
"""The registered tests, corrected together; one that was not run counts with p = 1."""

_ENDPOINT = "margin"
_UNITS = {"margin": 1.0, "accuracy": 100.0, "auc": 100.0, "noise_error": 100.0}
_COLUMNS = (
    *("backbone", "ratio", "seed", "hypothesis", "first", "second", "quantity", "n", "value"),
    *("ci_low", "ci_high", "p", "p_holm", "verdict", "first_run", "second_run"),
)


@dataclass(frozen=True)
class Finished:
    """A finished run with the scale of its baseline."""

    run_id: str
    trials: Trials
    scale: Scale

    @cached_property
    def quantities(self) -> dict[str, Values]:
        """Quantity -> one value per image."""
        return {
            "margin": self.trials.mean_margins(self.scale),
            "accuracy": self.trials.is_right(),
            "auc": self.trials.pairwise_auc(),
            "noise_error": self.trials.noise_errors(self.scale),
        }


class Place(NamedTuple):
    """What runs have in common that are compared.

    Attributes:
        backbone: Its name.
        ratio: Merge ratio.
        seeds: Of one run each; an image's value is their mean.

    """

    backbone: str
    ratio: float
    seeds: tuple[int, ...]


def read_runs(results: Path) -> dict[Run, Finished]:
    """The runs that are finished and whose baseline is.

    Raises:
        UserError: The files of a run are damaged, or it cannot be paired with its baseline.

    """
    found = {run: own for run in planned() if (own := _read(results, run)) is not None}
    late = {*narrowing()}
    if not late <= found.keys():  # they are looked at together, when all are there
        found = {run: own for run, own in found.items() if run not in late}
    finished = {}
    for run, own in found.items():
        baseline = found.get(run.baseline)
        trials = read_trials(own)
        if baseline is not None and trials is not None:
            check_pair(own, _with_seed(baseline, run.seed))
            scale = trials if run.variant == BASELINE else read_trials(baseline)
            if scale is not None:
                finished[run] = Finished(own.run_id, trials, scale.scale)
    return finished


def _with_seed(baseline: FinishedRun, seed: int) -> FinishedRun:
    """A baseline whose sigma_t serves another seed; all else must agree."""
    config = {**baseline.config, "seed": seed}
    return replace(baseline, manifest={**baseline.manifest, "config": config})


def _read(results: Path, run: Run) -> FinishedRun | None:
    name = run_id(compose_config([*run.overrides]))
    return read_finished(results, name) if Archive(results, "mini").is_available(name) else None


def rows(runs: dict[Run, Finished]) -> list[dict[str, Any]]:
    """Differences of the hypotheses, those not registered, and of each variant to the baseline."""
    compared = [*_compared(runs)]
    family = [row for row in compared if row["p_holm"] is not None]
    missing = [1.0] * (TESTS - len(family))
    corrected = holm([*(row["p"] for row in family), *missing])
    for row, p in zip(family, corrected, strict=False):
        row["p_holm"] = p
        row["verdict"] = verdict(row, HYPOTHESES[row["hypothesis"]][2])
    return compared


def _compared(runs: dict[Run, Finished]) -> Iterator[dict[str, Any]]:
    pairs = {name: (first, second) for name, (first, second, _) in HYPOTHESES.items()}
    for place in _places(runs):
        for name, pair in pairs.items():
            yield from _differences(runs, place, name, *pair)
        beside = ((variant, BASELINE) for variant in (*VARIANTS, *EXPLORATORY))
        for pair in (*EXPLORED, *beside):
            yield from _differences(runs, place, "", *pair)


def _places(runs: dict[Run, Finished]) -> dict[Place, None]:
    """Each backbone, ratio and registered seed with runs, then all of these, then all seeds."""
    seeds: dict[tuple[str, float], set[int]] = {}
    for run in runs:
        if run.ratio:
            seeds.setdefault((run.backbone, run.ratio), set()).add(run.seed)
    single = dict.fromkeys(
        Place(run.backbone, run.ratio, (run.seed,))
        for run in runs
        if run.ratio and run.seed in REGISTERED_SEEDS
    )
    pooled = (
        Place(*key, tuple(sorted(own)))
        for key, found in seeds.items()
        for own in (found & {*REGISTERED_SEEDS}, found)
        if len(own) > 1
    )
    return single | dict.fromkeys(pooled)


def _differences(
    runs: dict[Run, Finished], place: Place, name: str, first: str, second: str
) -> Iterator[dict[str, Any]]:
    backbone, ratio, seeds = place
    level = ratio if second != BASELINE else 0.0
    ours = [runs[key] for seed in seeds if (key := Run(backbone, first, ratio, seed)) in runs]
    theirs = [runs[key] for seed in seeds if (key := Run(backbone, second, level, seed)) in runs]
    if not len(ours) == len(theirs) == len(seeds):
        return
    is_registered = {*seeds} <= {*REGISTERED_SEEDS}
    for quantity, unit in _UNITS.items() if is_registered else [(_ENDPOINT, 1.0)]:
        found = paired_difference(_mean(ours, quantity), _mean(theirs, quantity))
        is_tested = bool(name) and quantity == _ENDPOINT and (ratio, seeds) == (0.7, (0,))
        words = (backbone, ratio, " ".join(map(str, seeds)), name, first, second, quantity)
        yield {
            **dict(zip(_COLUMNS, words, strict=False)),
            **_numbers(found, unit),
            **({} if is_registered else {"p": None}),
            "p_holm": 1.0 if is_tested else None,
            "verdict": "",
            "first_run": " ".join(each.run_id for each in ours),
            "second_run": " ".join(each.run_id for each in theirs),
        }


def _mean(runs: list[Finished], quantity: str) -> Values:
    """The quantity of each image: of one run, or its mean over several seeds."""
    first, *others = (run.quantities[quantity] for run in runs)
    return (first + sum(others)) / len(runs) if others else first


def _numbers(found: PairedResult, unit: float) -> dict[str, float]:
    return {
        "n": found.n,
        "value": unit * found.mean,
        "ci_low": unit * found.ci_low,
        "ci_high": unit * found.ci_high,
        "p": found.p,
    }


def verdict(row: dict[str, Any], expected: str) -> str:
    """`level`, `supported`, `contradicted` or `inconclusive`, as registered."""
    is_level = row["ci_low"] > -DELTA and row["ci_high"] < DELTA
    excludes_zero = row["ci_low"] > 0 or row["ci_high"] < 0
    if expected == "level":
        if is_level:
            return "supported"
        return "contradicted" if excludes_zero else "inconclusive"
    if is_level:
        return "level"
    if not row["p_holm"] < LEVEL:
        return "inconclusive"
    is_above = row["value"] > 0
    return "supported" if is_above == (expected == "above") else "contradicted"


def write_csv(path: Path, found: Sequence[dict[str, Any]]) -> None:
    """All rows, numbers with six significant digits."""
    with path.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, _COLUMNS, lineterminator="\n")
        writer.writeheader()
        for row in found:
            writer.writerow({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()})


def main(arguments: list[str] | None = None) -> int:
    """Write the files; 1 if no run is finished."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("results"), help="default: results")
    options = parser.parse_args(arguments)
    runs = read_runs(options.results)
    missing = [run for run in registered() if run not in runs]
    sys.stdout.write(f"{len(runs)} runs are finished; {len(missing)} registered ones are not\n")
    if not runs:
        return 1
    folder, found = options.results / "mini", rows(runs)
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / "decomposition.csv", found)
    text = "\n".join(markdown(found)) + "\n"
    (folder / "decomposition.md").write_text(text, encoding="utf-8")
    own = [row for row in found if row["second"] == BASELINE and row["quantity"] == _ENDPOINT]
    draw(own, folder / "figures" / "decomposition")
    if options.results.resolve() == (ROOT / "results").resolve():
        page = ROOT / "docs" / "decomposition.md"
        for name, part in page_parts(found, missing).items():
            replace_text(page, between(page, name, part))
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(in_one_line(main))
