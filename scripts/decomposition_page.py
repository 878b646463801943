"""What `decomposition_results.py` writes in words: its Markdown file and docs/decomposition.md."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from decomposition import BACKBONES, BASELINE, MORE_SEEDS, REGISTERED_SEEDS, Run, registered

from bigain.config import BACKBONE_TITLES
from bigain.tables.ranks import LEVEL

__all__ = ["markdown", "page_parts"]

Row = Mapping[str, Any]

_ENDPOINT = "margin"
_NARROWED = ("mini_dit", 0.7)
"""Backbone and ratio of `decomposition.narrowing`."""

_PLACES = ((0.7, "0"), (0.7, "0 1 2"), (0.5, "0"), (0.3, "0"))
"""Ratio and seeds of the columns of what was not registered."""


def markdown(found: Sequence[Row]) -> Iterator[str]:
    """The registered tests, what was not registered, and each variant beside the baseline."""
    yield from ("## The registered tests: ratio 0.7, seed 0", "", *_tests(found))
    for backbone in BACKBONES:
        yield from ("", f"## Not registered, without a test: {backbone}", "")
        yield from _differences(_explored(found), [(backbone, *place) for place in _PLACES])
    for backbone in BACKBONES:
        yield from ("", f"## Beside the baseline: {backbone}", "")
        yield from _beside(found, backbone, None)


def page_parts(found: Sequence[Row], missing: Sequence[Run]) -> dict[str, str]:
    """Name of the marks -> the text between them."""
    registered_rows = [row for row in found if row["hypothesis"]]
    seeds = [(backbone, 0.7, "0 1 2") for backbone in BACKBONES]
    ratios = [(backbone, ratio, "0") for backbone in BACKBONES for ratio in (0.5, 0.3)]
    parts: dict[str, Iterable[str]] = {
        "count": [_count(missing)],
        "tests": _tests(found),
        "seeds": _differences(registered_rows, seeds),
        "ratios": _differences(registered_rows, ratios),
        "more seeds": _differences(*_more_seeds(found)),
    }
    for backbone in BACKBONES:
        parts[f"beside {backbone}"] = _beside(found, backbone, (0.7, "0"))
        own = [(backbone, *place) for place in _PLACES]
        parts[f"explored {backbone}"] = _differences(_explored(found), own)
    return {name: "\n".join(lines) + "\n" for name, lines in parts.items()}


def _more_seeds(found: Sequence[Row]) -> tuple[list[Row], list[tuple[str, float, str]]]:
    """H2 on the DiT at 0.7: its rows, and the places of the registered seeds and of all."""
    rows = [row for row in found if row["hypothesis"] == "H2" and _place(row)[:2] == _NARROWED]
    places = (REGISTERED_SEEDS, (*REGISTERED_SEEDS, *MORE_SEEDS))
    return rows, [(*_NARROWED, " ".join(map(str, seeds))) for seeds in places]


def _count(missing: Sequence[Run]) -> str:
    total = sum(1 for _ in registered())
    done = f"{total - len(missing)} of the {total} registered runs are done."
    places = dict.fromkeys((run.backbone, run.ratio, run.seed) for run in missing)
    names = (
        f"{backbone}, ratio {ratio}, seed {seed}: "
        + "; ".join(run.variant for run in missing if (run.backbone, run.ratio, run.seed) == place)
        for place in places
        for backbone, ratio, seed in [place]
    )
    return f"{done} Not yet: {'. '.join(names)}." if missing else done


def _tests(found: Sequence[Row]) -> Iterator[str]:
    yield "| | difference | backbone | margin, sigma_t | p | p, Holm | verdict |"
    yield "|---|---|---|---|---|---|---|"
    tested = [row for row in found if row["p_holm"] is not None]
    for row in sorted(tested, key=lambda each: each["hypothesis"]):
        what = f"{row['first']} - {row['second']}"
        numbers = f"{_text(row)} | {row['p']:.2g} | {row['p_holm']:.2g} | {_verdict(row)}"
        yield f"| {row['hypothesis']} | {what} | {row['backbone']} | {numbers} |"


def _explored(found: Sequence[Row]) -> list[Row]:
    return [row for row in found if not row["hypothesis"] and row["second"] != BASELINE]


def _differences(found: Sequence[Row], places: Sequence[tuple[str, float, str]]) -> Iterator[str]:
    """Margins, a row for each pair and a column for each place with its backbone, ratio, seeds."""
    own = [row for row in found if row["quantity"] == _ENDPOINT]
    cells = {
        (row["hypothesis"], row["first"], row["second"], _place(row)): _text(row) for row in own
    }
    titles = (
        f"{BACKBONE_TITLES[backbone]}, {ratio}, {_seeds(seeds)}"
        for backbone, ratio, seeds in places
    )
    pairs = dict.fromkeys((row["hypothesis"], row["first"], row["second"]) for row in own)
    names = any(name for name, _, _ in pairs)
    yield f"|{' |' * names} margin, sigma_t | {' | '.join(titles)} |"
    yield "|---" * (1 + names + len(places)) + "|"
    for name, first, second in sorted(pairs, key=lambda pair: pair[0]):
        texts = [cells.get((name, first, second, place), "—") for place in places]
        if set(texts) != {"—"}:
            yield f"| {f'{name} | ' * names}{first} - {second} | {' | '.join(texts)} |"


def _seeds(text: str) -> str:
    """`seed 0`, `seeds 0 1 2`, `seeds 0 to 16`."""
    first, *others = text.split()
    if len(others) > 3:
        return f"seeds {first} to {others[-1]}"
    return f"seed{'s' * bool(others)} {text}"


def _place(row: Row) -> tuple[str, float, str]:
    return row["backbone"], row["ratio"], row["seed"]


def _beside(found: Sequence[Row], backbone: str, only: tuple[float, str] | None) -> Iterator[str]:
    """Each variant minus the baseline, of one ratio and seed or of all."""
    quantities = "margin, sigma_t | accuracy, points | AUC, points | noise error, %"
    yield f"| ratio, seed | variant | {quantities} |"
    yield "|---|---|---|---|---|---|"
    cells: dict[tuple[float, str, str], list[str]] = {}
    for row in found:
        is_shown = only is None or (row["ratio"], row["seed"]) == only
        if row["backbone"] == backbone and row["second"] == BASELINE and is_shown:
            cells.setdefault((row["ratio"], row["seed"], row["first"]), []).append(_text(row))
    for (ratio, seed, variant), texts in cells.items():
        yield f"| {ratio}, {seed} | {variant} | {' | '.join(texts)} |"


def _verdict(row: Row) -> str:
    """With a mark where it rests on the interval, and the corrected p does not say so."""
    by_interval = row["verdict"] == "contradicted" and row["p_holm"] >= LEVEL
    return f"{row['verdict']} [by the interval]" if by_interval else str(row["verdict"])


def _text(row: Row) -> str:
    digits = 3 if row["quantity"] == _ENDPOINT else 2
    value, low, high = (f"{row[key]:+.{digits}f}" for key in ("value", "ci_low", "ci_high"))
    return f"{value} [{low}, {high}]"
