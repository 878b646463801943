"""`bigain flops`: FLOPs of every operator on one backbone, counted and in closed form.

The sweep follows the paper's tables: merging at ratios 0.1 to 0.7, key/value downsampling by 2 to
8, and for a flat transformer also the first 12/28 of its blocks, if these are not the default.
"""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from bigain.cli.arguments import VerbParser
from bigain.config import RunConfig
from bigain.config.architectures import ARCHITECTURES
from bigain.config.paper import load_paper
from bigain.files import csv_text
from bigain.patching.selection import default_blocks, first_share

__all__ = ["COLUMNS", "DEFAULT", "SweepCase", "flops_rows", "main", "published_flops", "sweep"]

COLUMNS = (
    *("operator", "setting", "blocks", "counted_g", "closed_form_g", "saved_percent"),
    *("published_g", "difference_g"),
)
"""GFLOPs (1e9) of one forward at batch 1; difference_g = counted_g - published_g, None if the paper
prints no figure."""

DEFAULT = "default"
"""Name for the sites of the backbone's configuration."""

_RATIOS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7")
_FACTORS = ("2", "3", "4", "5", "6", "7", "8")
_MERGING = ("tome", "lgtm", "cached", "abm", "sito", "toma")
_DOWNSAMPLING = ("todo", "avg_pool", "ie_kvd")
_HYBRIDS = ("lgtm_enc_ie_kvd_dec", "ie_kvd_enc_lgtm_dec")

_PAPERS_RATIO = "ratio=0.7"
"""The ratio of the figures that Tables 7 and 11 print for merging without a ratio."""
_PUBLISHED_DIGITS = 2

_Row = dict[str, Any]


@dataclass(frozen=True)
class SweepCase:
    """An operator with its settings and sites: one row of the output.

    Attributes:
        operator: id in the configuration.
        setting: its settings as `normal_setting` writes them, separated by semicolons.
        blocks: `default` (the backbone's configuration), or a value of `backbone.sites.blocks`.

    """

    operator: str
    setting: str = ""
    blocks: str = DEFAULT

    def overrides(self, backbone: str) -> list[str]:
        """The arguments of `python -m bigain` that count this case."""
        settings = [f"operator.{each}" for each in self.setting.split(";") if each]
        sites = [] if self.blocks == DEFAULT else [f"backbone.sites.blocks={self.blocks}"]
        common = (f"backbone={backbone}", "task=efficiency", f"operator={self.operator}")
        return [*common, *settings, *sites]


def sweep(backbone: str) -> list[SweepCase]:
    """All cases for a backbone of the configuration, the baseline first."""
    depth = ARCHITECTURES[backbone].blocks
    if ARCHITECTURES[backbone].is_joint:
        has_sites = not ARCHITECTURES[backbone].is_packed
        merging = [each for each in _operators(DEFAULT) if each.operator in _MERGING]
        return [SweepCase("none"), *(merging if has_sites else [])]
    cases = [SweepCase("none"), *_operators(DEFAULT)]
    if depth is None:
        return [*cases, *(SweepCase(name, "factor=2;ratio=0.7") for name in _HYBRIDS)]
    differs = default_blocks(depth) != first_share(depth)
    return [*cases, *_operators("first12")] if differs else cases


def published_flops(backbone: str) -> Mapping[tuple[str, str], float]:
    """(operator, setting) -> GFLOPs printed in the paper (Tables 7, 11 and 18)."""
    printed = {}
    for key, value in load_paper().items():
        if (key.backbone, key.metric) == (backbone, "flops_g") and value.text:
            no_ratio = key.method in _MERGING and not key.setting
            setting = _PAPERS_RATIO if no_ratio else key.setting
            printed[key.method, setting] = float(value.text)
    return printed


def _operators(blocks: str) -> Iterator[SweepCase]:
    for name in _MERGING:
        yield from (SweepCase(name, f"ratio={ratio}", blocks) for ratio in _RATIOS)
    for name in _DOWNSAMPLING:
        yield from (SweepCase(name, f"factor={factor}", blocks) for factor in _FACTORS)
    yield SweepCase("kv_select", "sparsity=0.75", blocks)


def main(arguments: Sequence[str]) -> int:
    """Print one row per case of the sweep."""
    description = "Count the FLOPs of one forward (batch 1, no weights) with every operator."
    parser = VerbParser("flops", description, results=False)
    parser.add_argument(
        "--backbone", choices=[*ARCHITECTURES], default="sd20", help="default: sd20"
    )
    parser.add_argument(
        "--format", choices=[*_FORMATS], default="text", help="text (default), csv or markdown"
    )
    options = parser.parse_args(arguments)
    sys.stdout.write(_FORMATS[options.format](flops_rows(options.backbone)))
    return 0


def flops_rows(backbone: str) -> list[_Row]:
    """One row with `COLUMNS` per case of `sweep`."""
    from bigain.launch.compose import compose_configs  # noqa: PLC0415 -- loads hydra

    cases = sweep(backbone)
    published = published_flops(backbone)
    configs = compose_configs([case.overrides(backbone) for case in cases])
    pairs = list(zip(cases, configs, strict=True))
    bar = tqdm(pairs, desc=backbone, unit="count", disable=None, leave=False)
    return [_row(case, config, published) for case, config in bar]


def _row(case: SweepCase, config: RunConfig, published: Mapping[tuple[str, str], float]) -> _Row:
    from bigain.engine.build import build_flops  # noqa: PLC0415 -- loads torch

    count = build_flops(config)
    total = count.total / 1e9
    # The paper's figures are for the default sites only.
    at_default = case.blocks == DEFAULT
    printed = published.get((case.operator, case.setting)) if at_default else None
    return {
        "operator": case.operator,
        "setting": case.setting,
        "blocks": case.blocks,
        "counted_g": total,
        "closed_form_g": count.closed_form / 1e9,
        "saved_percent": 100 * count.saved / count.baseline,
        "published_g": printed,
        "difference_g": None if printed is None else round(total, _PUBLISHED_DIGITS) - printed,
    }


def _table(rows: Sequence[_Row], style: str) -> str:
    cells = [[_cell(key, row[key]) for key in COLUMNS] for row in rows]
    alignment = ["left"] * 3 + ["right"] * (len(COLUMNS) - 3)
    text = tabulate(cells, COLUMNS, tablefmt=style, disable_numparse=True, colalign=alignment)
    compared = any(row["published_g"] is not None for row in rows)
    return f"{text}\n\n{_NOTE}\n" if compared else f"{text}\n"


def _cell(column: str, value: Any) -> str:
    if value is None:
        return ""
    return f"{value + 0.0:{_DIGITS[column]}}" if column in _DIGITS else str(value)


_DIGITS = {
    "counted_g": ".4f",
    "closed_form_g": ".4f",
    "saved_percent": ".2f",
    "published_g": ".2f",
    "difference_g": "+.2f",
}
_NOTE = (
    "GFLOPs of one forward at batch 1.  Published: Tables 7, 11 and 18; figures without a ratio\n"
    "are those of 0.7.  Why ABM and the hybrids cost less here: docs/efficiency.md."
)
_FORMATS: dict[str, Callable[[Sequence[_Row]], str]] = {
    "text": partial(_table, style="simple"),
    "csv": partial(csv_text, COLUMNS),
    "markdown": partial(_table, style="github"),
}
