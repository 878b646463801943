"""The claims as Markdown tables, one row a claim, and as a tidy CSV, one line a test.

Questions of ours, and counts for which no model ran, are in tables of their own.
"""

import math
import shlex
from collections.abc import Iterator, Mapping, Sequence

from bigain.config import BACKBONE_TITLES
from bigain.files import csv_text
from bigain.metrics import Metric
from bigain.tables.bounds import level_bounds
from bigain.tables.claim_results import NOT_RUN, Finding, overall
from bigain.tables.claim_runs import ClaimRuns
from bigain.tables.claims import Claim, ClaimsSpec
from bigain.tables.differences import Difference, paired_differences
from bigain.tables.document import DASH
from bigain.tables.quantities import QUANTITIES, format_difference, format_metric
from bigain.tables.sources import Hypothesis
from bigain.tables.trial_cells import trial_differences, trial_metrics
from bigain.tables.verdicts import VERDICTS

__all__ = ["claims_csv", "claims_markdown", "rivals_markdown"]

_BACKBONES = {name: BACKBONE_TITLES[name] for name in ("mini_unet", "mini_dit")}
_PAPERS = {"mini_unet": "(SD-2.0)", "mini_dit": "(DiT-XL/2)"}
_COLUMNS = (
    *("claim", "place", "backbone", "label", "metric", "expected", "paper", "n", "value"),
    *("ci_low", "ci_high", "unit", "p", "p_holm", "family", "verdict", "papers_size", "runs"),
    "missing",
)
_EXCLUDES = {None: "", True: "excluded", False: "possible"}
_RIVALS = ("best_margin", "acc1", "frechet_mini")
"""What the README's table shows of each backbone."""


def claims_markdown(spec: ClaimsSpec, findings: Sequence[Finding]) -> str:
    """The tables, and below them the commands of the runs that are missing; links are from docs/.

    Args:
        spec: The claims.
        findings: Their tests.

    """
    commands = _commands(findings)
    claims = [each for each in spec.claims if not each.question and not each.counts]
    questions = [each for each in spec.claims if each.question]
    counted = [each for each in spec.claims if each.counts and not each.question]
    lines = [_counts(findings), "", *_table("claim", claims, findings, commands)]
    if questions:
        lines += ["", "Questions of ours, with the same tests:", ""]
        lines += _table("question", questions, findings, commands)
    if counted:
        lines += ["", "Counted, with no model run: FLOPs of SD-2.0.", ""]
        lines += _counted(counted, findings, commands)
    if commands:
        lines += ["", "Runs that are missing, by the number in the table:", "", "```"]
        lines += [f"{command}  # [{number}]" for command, number in commands.items()]
        lines += ["```"]
    return "\n".join(lines) + "\n"


def _table(
    kind: str, claims: Sequence[Claim], findings: Sequence[Finding], commands: Mapping[str, int]
) -> Iterator[str]:
    """The lines of a table of tests, one row a claim."""
    heads = [kind, "where", "the paper's size", *_BACKBONES.values(), "shown in"]
    yield f"| {' | '.join(heads)} |"
    yield "|" + "---|" * len(heads)
    for claim in claims:
        own = [each for each in findings if each.claim.id == claim.id]
        texts = [_cell(claim, own, backbone, commands) for backbone in _BACKBONES]
        yield f"| {' | '.join((_text(claim), claim.place, _sizes(own), *texts, _link(claim)))} |"


def _counted(
    claims: Sequence[Claim], findings: Sequence[Finding], commands: Mapping[str, int]
) -> Iterator[str]:
    """The lines of the table of counts."""
    yield "| claim | where | the paper's | ours | shown in |"
    yield "|" + "---|" * 5
    for claim in claims:
        own = [each for each in findings if each.claim.id == claim.id]
        sizes = "<br>".join(f"{each.label}: {_size(each)}" for each in own)
        ours = "<br>".join(_line(each, commands, len(own)) for each in own)
        yield f"| {_text(claim)} | {claim.place} | {sizes} | {ours} | {_link(claim)} |"


def claims_csv(findings: Sequence[Finding]) -> str:
    """One line for each test and backbone; numbers with nine digits."""
    return csv_text(_COLUMNS, map(_row, findings))


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
    """How many comparisons have each verdict, as that claim expects them that names them first.

    Of all, and of those in the margin.  Bands have no p value and are not among them.
    """
    tested = [each for each in findings if not each.claim.question and not each.is_counted]
    verdicts: dict[Hypothesis, str] = {}
    for each in tested:
        if each.runs:
            verdicts.setdefault(each.hypothesis, each.verdict)
    margins = [verdict for key, verdict in verdicts.items() if key.metric == "best_margin"]
    once = "each once, with the verdict of the first claim that names it"
    text = f"{len(verdicts)} comparisons, {once}: {_listed(list(verdicts.values()))}."
    if margins:
        text += f" Of these, {len(margins)} are of the margin: {_listed(margins)}."
    if bands := sum(not each.runs for each in tested):
        text += f" Not counted: {bands} of frequency bands, without a p value."
    return text


def _listed(verdicts: Sequence[str]) -> str:
    return ", ".join(f"{verdicts.count(name)} {name}" for name in (*VERDICTS, NOT_RUN))


def _text(claim: Claim) -> str:
    end = "" if claim.text.endswith("?") else "."
    return f"{claim.text}{end} *{claim.note}*" if claim.note else claim.text


def _sizes(findings: Sequence[Finding]) -> str:
    """One line for each test of which the paper prints a size, for one backbone or both."""
    sizes: dict[str, list[str]] = {}
    for each in findings:
        if each.paper is not None:
            sizes.setdefault(each.label, []).append(f"{_size(each)} {_PAPERS[each.backbone]}")
    return "<br>".join(f"{label}: {', '.join(own)}" for label, own in sizes.items())


def _size(finding: Finding) -> str:
    assert finding.paper is not None, "only printed sizes are asked for"
    if finding.is_counted:
        return f"{finding.paper:.2f}".replace("-", "−")
    return f"{finding.paper:+.2f}".replace("-", "−")


def _cell(
    claim: Claim, findings: Sequence[Finding], backbone: str, commands: Mapping[str, int]
) -> str:
    if claim.untested:
        return f"not tested: {claim.untested}" if backbone == "mini_unet" else ""
    own = [each for each in findings if each.backbone == backbone]
    if not own:
        return "not in the paper"
    lines = [_overall(own)] if len(own) > 1 else []
    return "<br>".join((*lines, *(_line(each, commands, len(own)) for each in own)))


def _overall(findings: Sequence[Finding]) -> str:
    """The verdict by the paper's metrics and that by the margin, with the tests behind each."""
    ours = [each for each in findings if each.metric == "best_margin"]
    papers = [each for each in findings if each.metric != "best_margin"]
    if ours and papers:
        return f"{_whole(papers)}; by the margin: {_whole(ours)}"
    return _whole(findings)


def _whole(findings: Sequence[Finding]) -> str:
    made = sum(each.verdict != NOT_RUN for each in findings)
    behind = f" ({made} of {len(findings)} run)" if len(findings) > 1 else ""
    return f"**{overall(findings)}**{behind}"


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
    if finding.is_counted:
        return format_metric(finding.measured)
    if finding.metric in QUANTITIES:
        number = f"{format_difference(finding.measured)}, n = {finding.measured.n:,}"
        return ", ".join((number, *_criteria(finding)))
    text = _share(finding.measured)
    text = f"{text}, low {_share(finding.beside)}" if finding.beside else text
    return f"{text}, n = {finding.measured.n:,}, no p"


def _criteria(finding: Finding) -> Iterator[str]:
    """Delta where the claim is about the interval, and p, single and with Holm's correction."""
    if finding.expected in ("level", "not_worse"):
        yield f"delta {level_bounds()[finding.metric]:g}"
    for name, p in (("p", finding.p), ("Holm", finding.adjusted)):
        if not math.isnan(p):
            yield f"{name} < 0.0001" if p < 1e-4 else f"{name} {p:.2g}"


def _share(metric: Metric) -> str:
    value, low, high = (f"{getattr(metric, key):.3f}" for key in ("value", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}]"


def _link(claim: Claim) -> str:
    """The table, and the page; where there are both, the page has the margin."""
    name = f"table{claim.table:02d}.md" if claim.table is not None else ""
    table = f"[Table {claim.table}](../results/mini/tables/{name})" if name else ""
    page = f"[{'margin' if table else 'page'}]({claim.page})" if claim.page else ""
    return ", ".join(filter(None, (table, page)))


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
