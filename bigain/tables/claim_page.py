"""The claims as a Markdown table, one row a claim, and as a tidy CSV, one line a test."""

import csv
import io
import math
import shlex
from collections.abc import Mapping, Sequence

from bigain.metrics import Metric
from bigain.tables.claim_results import NOT_RUN, Finding, overall
from bigain.tables.claim_runs import ClaimRuns
from bigain.tables.claims import Claim, ClaimsSpec
from bigain.tables.differences import Difference, paired_differences
from bigain.tables.document import DASH
from bigain.tables.quantities import QUANTITIES, format_difference, format_metric
from bigain.tables.trial_cells import trial_differences, trial_metrics
from bigain.tables.verdicts import VERDICTS

__all__ = ["claims_csv", "claims_markdown", "rivals_markdown"]

_BACKBONES = {"mini_unet": "mini U-Net", "mini_dit": "mini DiT"}
_PAPERS = {"mini_unet": "(SD-2.0)", "mini_dit": "(DiT-XL/2)"}
_COLUMNS = (
    *("claim", "place", "backbone", "label", "metric", "expected", "paper", "n", "value"),
    *("ci_low", "ci_high", "unit", "p", "p_holm", "family", "verdict", "papers_size", "runs"),
    "missing",
)
_EXCLUDES = {None: "", True: "excluded", False: "possible"}
_RIVALS = ("best_margin", "acc1", "frechet_mini")
"""What the README's table shows of each backbone."""


def claims_markdown(spec: ClaimsSpec, findings: Sequence[Finding], folder: str = "") -> str:
    """The table, and below it the commands of the runs that are missing.

    Args:
        spec: The claims.
        findings: Their tests.
        folder: Of results/mini, relative to the page; empty or with a slash at its end.

    """
    commands = _commands(findings)
    heads = ["claim", "where", "the paper's size", *_BACKBONES.values(), "shown in"]
    lines = [_counts(findings), "", f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for claim in spec.claims:
        own = [each for each in findings if each.claim.id == claim.id]
        texts = [_cell(claim, own, backbone, commands) for backbone in _BACKBONES]
        row = (_text(claim), claim.place, _sizes(own), *texts, _link(claim, folder))
        lines.append(f"| {' | '.join(row)} |")
    if commands:
        lines += ["", "Runs that are missing, by the number in the table:", "", "```"]
        lines += [f"{command}  # [{number}]" for command, number in commands.items()]
        lines += ["```"]
    return "\n".join(lines) + "\n"


def claims_csv(findings: Sequence[Finding]) -> str:
    """One line for each test and backbone; numbers with nine digits."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(map(_row, findings))
    return buffer.getvalue()


def rivals_markdown(spec: ClaimsSpec, runs: ClaimRuns) -> str:
    """The README's table: margin, accuracy and distance of each operator minus the baseline."""
    places = [(backbone, metric) for backbone in ("mini_dit", "mini_unet") for metric in _RIVALS]
    heads = {"best_margin": "margin, sigma_t", "acc1": "top-1, points", "frechet_mini": "Frechet"}
    names = [f"{_BACKBONES[backbone]}: {heads[metric]}" for backbone, metric in places]
    lines = [f"| operator | {' | '.join(names)} |", "|" + "---|" * (1 + len(names))]
    none = spec.rivals[0].run
    for rival in spec.rivals:
        cells = (_rival(spec, runs, *place, rival.run, none) for place in places)
        lines.append(f"| {rival.label} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rival(
    spec: ClaimsSpec, runs: ClaimRuns, backbone: str, metric: str, name: str, none: str
) -> str:
    ids = [runs.run_id(spec.words(backbone, metric, each, ())) for each in (name, none)]
    if not all(map(runs.has, ids)):
        return DASH
    runs.check(ids)
    if name == none:
        return format_metric(_value(runs, metric, ids[0]))
    return format_difference(_against(runs, metric, ids).metric)


def _value(runs: ClaimRuns, metric: str, name: str) -> Metric:
    if metric == "best_margin":
        return trial_metrics(runs.trials(name, name), None)[metric]
    return runs.metric(name, metric)


def _against(runs: ClaimRuns, metric: str, ids: Sequence[str]) -> Difference:
    if metric == "best_margin":
        own, other = (runs.trials(name, ids[1]) for name in ids)
        return trial_differences(own, other, None)[metric]
    own_frame, other_frame = map(runs.frame, ids)
    work = QUANTITIES[metric].work
    return paired_differences(work, own_frame, other_frame, None)[metric]


def _commands(findings: Sequence[Finding]) -> Mapping[str, int]:
    """The command of every missing run -> its number."""
    words = (own for each in findings for own in each.missing)
    found = dict.fromkeys(shlex.join(("python", "-m", "bigain", *own)) for own in words)
    return {command: number for number, command in enumerate(found, start=1)}


def _counts(findings: Sequence[Finding]) -> str:
    verdicts = [each.verdict for each in findings]
    counts = [f"{verdicts.count(name)} {name}" for name in (*VERDICTS, NOT_RUN)]
    return f"{len(verdicts)} tests: {', '.join(counts)}."


def _text(claim: Claim) -> str:
    return f"{claim.text}. *{claim.note}*" if claim.note else claim.text


def _sizes(findings: Sequence[Finding]) -> str:
    """One line for each test of which the paper prints a size, for one backbone or both."""
    sizes: dict[str, list[str]] = {}
    for each in findings:
        if each.paper is not None:
            sizes.setdefault(each.label, []).append(f"{_size(each)} {_PAPERS[each.backbone]}")
    return "<br>".join(f"{label}: {', '.join(own)}" for label, own in sizes.items())


def _size(finding: Finding) -> str:
    assert finding.paper is not None, "only printed sizes are asked for"
    if finding.expected == "equal":
        return f"{finding.paper:.2f}"
    return f"{finding.paper:+.2f}".replace("-", "−")


def _cell(
    claim: Claim, findings: Sequence[Finding], backbone: str, commands: Mapping[str, int]
) -> str:
    if claim.untested:
        return f"not tested: {claim.untested}" if backbone == "mini_unet" else ""
    own = [each for each in findings if each.backbone == backbone]
    if not own:
        return "not in the paper"
    lines = [f"**{overall(own)}**"] if len(own) > 1 else []
    return "<br>".join((*lines, *(_line(each, commands, len(own)) for each in own)))


def _line(finding: Finding, commands: Mapping[str, int], tests: int) -> str:
    if finding.measured is None:
        names = (shlex.join(("python", "-m", "bigain", *own)) for own in finding.missing)
        numbers = ", ".join(f"[{commands[name]}]" for name in names)
        return f"{finding.label}: {DASH} {numbers}"
    verdict = finding.verdict if tests > 1 else f"**{finding.verdict}**"
    size = f", paper's size {_EXCLUDES[finding.excludes]}" if finding.excludes is not None else ""
    return f"{finding.label}: {_number(finding)}: {verdict}{size}"


def _number(finding: Finding) -> str:
    assert finding.measured is not None, "only measured tests are printed"
    if finding.expected == "equal":
        return format_metric(finding.measured)
    if finding.metric in QUANTITIES:
        return f"{format_difference(finding.measured)}, n = {finding.measured.n:,}"
    text = f"{_share(finding.measured)}, n = {finding.measured.n:,}"
    return f"{text}, to {_share(finding.beside)}" if finding.beside else text


def _share(metric: Metric) -> str:
    value, low, high = (f"{getattr(metric, key):.3f}" for key in ("value", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}]"


def _link(claim: Claim, folder: str) -> str:
    if claim.table is not None:
        return f"[Table {claim.table}]({folder}tables/table{claim.table:02d}.md)"
    return f"[page]({folder}{claim.page})" if claim.page else ""


def _row(finding: Finding) -> dict[str, object]:
    measured = finding.measured
    numbers: dict[str, object] = {}
    if measured is not None:
        numbers = {key: _digits(getattr(measured, key)) for key in ("value", "ci_low", "ci_high")}
        numbers |= {"n": measured.n, "unit": measured.unit}
    return {
        "claim": finding.claim.id,
        "place": finding.claim.place,
        "backbone": finding.backbone,
        "label": finding.label,
        "metric": finding.metric,
        "expected": finding.expected,
        "paper": "" if finding.paper is None else _digits(finding.paper),
        **numbers,
        "p": _digits(finding.p),
        "p_holm": _digits(finding.adjusted),
        "family": finding.family,
        "verdict": finding.verdict,
        "papers_size": _EXCLUDES[finding.excludes],
        "runs": " ".join(finding.runs),
        "missing": "; ".join(map(shlex.join, finding.missing)),
    }


def _digits(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.9g}"
