"""What the committed runs say of the paper's claims, with the statistics of the tables.

Differences are those of `bigain.tables.differences` and `bigain.tables.trial_cells`.  A test of
growth is the paired difference of two differences, by t over images:
(first - second) - (third - fourth).  A margin is that of the first stage, of the runs of its own
protocol or of those whose accuracy is tested (`PairTest.protocol`).

p values have Holm's correction, in which a test that was not run counts with p = 1.  A hypothesis
of a table has the corrected p of the tables' family, one that docs/decomposition.md registered has
that of its twelve tests.  The others have that of one family of all comparisons of the claims, in
whatever metric, also those of tables and registration.

The verdict of a test is that of the tables; with two more expectations:

* level: supported where tables say level, contradicted where p < 0.05 and it is not level;
* not_worse: supported if the interval does not reach further than delta to the worse side,
  contradicted if it is worse with p < 0.05.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bigain.config.paper import PaperValues
from bigain.metrics import Metric, holm
from bigain.tables.bounds import level_bounds
from bigain.tables.claim_runs import ClaimRuns
from bigain.tables.claim_sizes import counted_size, printed_size
from bigain.tables.claims import BandTest, Claim, ClaimsSpec, CountTest, Expected, PairTest
from bigain.tables.differences import Difference
from bigain.tables.families import Corrected
from bigain.tables.quantities import QUANTITIES
from bigain.tables.ranks import LEVEL
from bigain.tables.sources import Hypothesis
from bigain.tables.verdicts import excludes_size, verdict_of

__all__ = ["Finding", "claim_verdict", "measure_claims", "overall", "read_registered"]

_SAME_UNIT = ("acc1", "map_image")
NOT_RUN = "not run"


@dataclass(frozen=True)
class Finding:
    """One test of a claim on one backbone.

    Attributes:
        claim: The claim.
        backbone: Where.
        label: What is compared.
        metric: In what.
        expected: What the paper says of it.
        paper: The paper's size; None if it prints none.
        measured: The number with its interval; None if a run is missing.
        beside: Of bands: the number that it is compared with.
        p: Of the single test; NaN without one.
        adjusted: With Holm's correction.
        family: Which correction: `tables`, `decomposition` or `claims`; empty if it is no test.
        verdict: One of the four, or `not run`.
        excludes: Whether the interval excludes the paper's size; None where units differ.
        runs: Ids of the runs, first minus second (and of the pair it grew from).
        missing: Overrides of the runs that are missing, as a user types them.

    """

    claim: Claim
    backbone: str
    label: str
    metric: str
    expected: str
    paper: float | None
    measured: Metric | None = None
    beside: Metric | None = None
    p: float = math.nan
    adjusted: float = math.nan
    family: str = ""
    verdict: str = NOT_RUN
    excludes: bool | None = None
    runs: tuple[str, ...] = ()
    missing: tuple[tuple[str, ...], ...] = ()

    @property
    def hypothesis(self) -> Hypothesis:
        """What it tests."""
        return Hypothesis(frozenset(self.runs), self.metric)

    @property
    def is_counted(self) -> bool:
        """Whether it is a count, for which no model ran."""
        return self.expected == "equal"


def measure_claims(
    spec: ClaimsSpec,
    runs: ClaimRuns,
    paper: PaperValues,
    tables: Corrected,
    registered: Corrected,
) -> list[Finding]:
    """All tests, claim by claim and backbone by backbone; untested claims have none.

    Args:
        spec: The claims.
        runs: What is finished.
        paper: The paper's values.
        tables: Corrected p values of the tables' hypotheses (`bigain.tables.families`).
        registered: Those of docs/decomposition.md (`read_registered`).

    Raises:
        UserError: Records are damaged, or two runs are of other weights or images.

    """
    found: list[Finding] = []
    for claim in spec.claims:
        for backbone in claim.backbones:
            found += [_paired(spec, runs, paper, claim, backbone, test) for test in claim.tests]
            found += [_counted(runs, paper, claim, backbone, test) for test in claim.counts]
            found += [_of_band(runs, claim, backbone, test) for test in claim.bands]
    return list(_judged(found, {"tables": tables, "decomposition": registered}))


def read_registered(path: Path) -> Corrected:
    """The registered tests of `decomposition.csv`; {} if there is no such file."""
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8", newline="") as handle:
        return {
            Hypothesis(frozenset((row["first_run"], row["second_run"])), "best_margin"): float(
                row["p_holm"]
            )
            for row in csv.DictReader(handle)
            if row["quantity"] == "margin" and row["p_holm"]
        }


def overall(findings: Sequence[Finding]) -> str:
    """The verdict of a claim on a backbone.

    Contradicted if one test is, supported or level if all are, not run if none was made; supported
    in part if some are supported and all others level.
    """
    verdicts = {each.verdict for each in findings}
    if "contradicted" in verdicts:
        return "contradicted"
    if verdicts == {"supported", "level"}:
        return "supported in part"
    return verdicts.pop() if len(verdicts) == 1 else "inconclusive"


def claim_verdict(expected: Expected, name: str, difference: Difference, adjusted: float) -> str:
    """The verdict of a paired test in the metric `name`."""
    is_lower = QUANTITIES[name].lower_is_better
    is_better = is_lower if expected in ("below", "level") else not is_lower
    found = verdict_of(name, is_better, difference, adjusted)
    if expected == "level":
        return {"level": "supported", "supported": "contradicted"}.get(found, found)
    if expected == "not_worse":
        low, high = difference.metric.ci_low, difference.metric.ci_high
        worst = -high if is_lower else low
        if worst > -level_bounds()[name]:
            return "supported"
        is_worse = (difference.metric.value > 0) == is_lower
        return "contradicted" if adjusted < LEVEL and is_worse else "inconclusive"
    return found


def _paired(
    spec: ClaimsSpec,
    runs: ClaimRuns,
    paper: PaperValues,
    claim: Claim,
    backbone: str,
    test: PairTest,
) -> Finding:
    is_margin = test.metric == "best_margin"
    names = (*test.runs, "none") if is_margin else test.runs
    words = [spec.words(backbone, test.settings_of, name, test.set) for name in names]
    ids = [runs.run_id(each) for each in words]
    finding = Finding(
        *(claim, backbone, test.label, test.metric, test.expected),
        printed_size(spec, paper, backbone, test),
        runs=tuple(ids[: len(test.runs)]),
        missing=tuple(dict.fromkeys(_missing(runs, zip(words, ids, strict=True), is_margin))),
    )
    if finding.missing:
        return finding
    runs.check(ids)
    difference = runs.difference(test, ids)
    return replace(finding, measured=difference.metric, p=difference.p)


def _missing(
    runs: ClaimRuns, named: Iterable[tuple[tuple[str, ...], str]], has_errors: bool
) -> Iterator[tuple[str, ...]]:
    """The words of runs that are not there, or that lack the errors which a margin needs."""
    for words, name in named:
        if not runs.has(name):
            yield words
        elif has_errors and not runs.has_errors(name):
            yield (*words, "force=true")


def _counted(
    runs: ClaimRuns, paper: PaperValues, claim: Claim, backbone: str, test: CountTest
) -> Finding:
    words = [tuple(each.split()) for each in (test.run, test.minus) if each]
    names = tuple(map(runs.run_id, words))
    size = counted_size(paper, test)
    finding = Finding(claim, backbone, test.label, test.metric, "equal", size, runs=names)
    missing = tuple(own for own, name in zip(words, names, strict=True) if not runs.has(name))
    if missing:
        return replace(finding, missing=missing)
    own, *other = (runs.metric(name, test.metric) for name in names)
    metric = replace(own, value=own.value - sum(each.value for each in other))
    is_equal = abs(metric.value - size) <= test.within
    return replace(finding, measured=metric, verdict="equal" if is_equal else "not equal")


def _of_band(runs: ClaimRuns, claim: Claim, backbone: str, test: BandTest) -> Finding:
    expected = "level" if test.within is not None else "above"
    finding = Finding(claim, backbone, test.label, test.quantity, expected, None)
    own = runs.band(backbone, test.quantity, test.band)
    other = runs.band(backbone, test.quantity, test.above) if test.above else None
    if own is None or (test.above and other is None):
        return replace(finding, missing=(("analysis", "bands", f"backbone={backbone}"),))
    ends = (other.ci_low, other.ci_high) if other else (-(test.within or 0), test.within or 0)
    verdict = _band_verdict(own, ends, is_above=other is not None)
    return replace(finding, measured=own, beside=other, verdict=verdict)


def _band_verdict(own: Metric, ends: tuple[float, float], *, is_above: bool) -> str:
    """Of an interval beside another: above it, or within it, or neither."""
    low, high = ends
    inside = own.ci_low > high if is_above else low < own.ci_low and own.ci_high < high
    outside = own.ci_high < low or (not is_above and own.ci_low > high)
    if inside:
        return "supported"
    return "contradicted" if outside else "inconclusive"


def _judged(findings: Iterable[Finding], known: Mapping[str, Corrected]) -> Iterator[Finding]:
    findings = list(findings)
    paired = [each for each in findings if each.runs and not each.is_counted]
    places = {**known, "claims": _own_family(paired)}
    for each in findings:
        family = next((name for name, own in places.items() if each.hypothesis in own), "")
        if each.measured is None or math.isnan(each.p):
            yield replace(each, family=family)
            continue
        adjusted = places[family][each.hypothesis]
        difference = Difference(each.measured, each.p)
        same = each.metric in _SAME_UNIT and each.paper is not None
        yield replace(
            each,
            family=family,
            adjusted=adjusted,
            verdict=claim_verdict(each.expected, each.metric, difference, adjusted),  # type: ignore[arg-type]
            excludes=excludes_size(difference, each.paper or 0.0) if same else None,
        )


def _own_family(findings: Sequence[Finding]) -> Corrected:
    """Corrected p values of all comparisons of the claims, in one family."""
    p_values = {each.hypothesis: 1.0 for each in findings}
    p_values |= {each.hypothesis: each.p for each in findings if each.measured is not None}
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))
