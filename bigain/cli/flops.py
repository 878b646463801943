"""`bigain flops`: FLOPs of every operator on one backbone, counted and in closed form."""

import csv
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from tabulate import tabulate
from tqdm import tqdm

from bigain.cli.arguments import VerbParser
from bigain.cli.flops_sweep import DEFAULT, Setting, published_flops, sweep
from bigain.config import RunConfig
from bigain.config.architectures import ARCHITECTURES

__all__ = ["COLUMNS", "flops_rows", "main"]

COLUMNS = (
    *("operator", "setting", "blocks", "counted_g", "closed_form_g", "saved_percent"),
    *("published_g", "difference_g"),
)
"""GFLOPs (1e9) of one forward of batch 1; difference = counted - published, None if not printed."""

_PUBLISHED_DIGITS = 2

Row = dict[str, Any]


def main(arguments: Sequence[str]) -> int:
    """Print one row per operator and setting."""
    description = "Count FLOPs of one forward (batch 1, meta device, no weights) for all operators."
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


def flops_rows(backbone: str) -> list[Row]:
    """One row of `COLUMNS` per setting of `bigain.cli.flops_sweep.sweep`."""
    from bigain.launch.compose import compose_configs  # noqa: PLC0415 -- loads hydra

    settings = sweep(backbone)
    published = published_flops(backbone)
    configs = compose_configs([setting.overrides(backbone) for setting in settings])
    pairs = list(zip(settings, configs, strict=True))
    bar = tqdm(pairs, desc=backbone, unit="count", disable=None, leave=False)
    return [_row(setting, config, published) for setting, config in bar]


def _row(
    setting: Setting, config: RunConfig, published: Mapping[tuple[str, str], float]
) -> dict[str, Any]:
    from bigain.engine.build import build_flops  # noqa: PLC0415 -- loads torch

    count = build_flops(config)
    total = count.total / 1e9
    # What the paper prints is for its default sites; other sites have nothing to compare with.
    at_default = setting.blocks == DEFAULT
    printed = published.get((setting.operator, setting.setting)) if at_default else None
    return {
        "operator": setting.operator,
        "setting": setting.setting,
        "blocks": setting.blocks,
        "counted_g": total,
        "closed_form_g": count.closed_form / 1e9,
        "saved_percent": 100 * count.saved / count.baseline,
        "published_g": printed,
        "difference_g": None if printed is None else round(total, _PUBLISHED_DIGITS) - printed,
    }


def _csv(rows: Sequence[Row]) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def _table(rows: Sequence[Row], style: str) -> str:
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
    "GFLOPs of one forward, batch 1.  Published: Tables 7, 11 and 18; where they do not print the\n"
    "ratio, their figure is that of 0.7.  Why ABM and the hybrids cost less here:"
    " docs/efficiency.md."
)
_FORMATS: dict[str, Callable[[Sequence[Row]], str]] = {
    "text": partial(_table, style="simple"),
    "csv": _csv,
    "markdown": partial(_table, style="github"),
}
