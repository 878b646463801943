"""The paper's printed values, with their status and remarks: facts to compare shapes with.

`bigain/assets/paper_tables.csv` has one row per cell of the 18 tables, `value` exactly as printed.
Differences between methods are rows of their own: metric `delta_<metric>`, setting `...;vs=rival`.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from bigain.errors import UserError
from bigain.locations import ASSETS

__all__ = ["PaperKey", "PaperValue", "PaperValues", "load_paper", "normal_setting"]

_COLUMNS = (
    *("table", "backbone", "dataset", "task", "method", "setting", "metric"),
    *("value", "status", "note"),
)


@dataclass(frozen=True)
class PaperKey:
    """What names one cell; `setting` as `normal_setting` writes it, empty for the baseline."""

    table: int
    backbone: str
    dataset: str
    method: str
    setting: str
    metric: str


@dataclass(frozen=True)
class PaperValue:
    """A value as printed (empty if lost), its status (reported, lost, derived), remark and task."""

    text: str
    status: str
    note: str
    task: str

    @property
    def number(self) -> float | None:
        """The value, if it is a number."""
        try:
            return float(self.text)
        except ValueError:
            return None


PaperValues = dict[PaperKey, PaperValue]


def load_paper(path: Path = ASSETS / "paper_tables.csv") -> PaperValues:
    """All printed values.

    Raises:
        UserError: The file lacks a column, or two rows claim one cell.

    """
    values: PaperValues = {}
    with path.open(newline="", encoding="utf-8") as handle:
        reader = csv.DictReader(handle)
        lacking = set(_COLUMNS) - set(reader.fieldnames or ())
        if lacking:
            raise UserError(f"{path}: lacks the columns {sorted(lacking)}")
        for line in reader:
            key = PaperKey(
                int(line["table"]),
                line["backbone"],
                line["dataset"],
                line["method"],
                normal_setting(line["setting"]),
                line["metric"],
            )
            if key in values:
                raise UserError(f"{path}: line {reader.line_num}: a second value for {key}")
            values[key] = PaperValue(line["value"], line["status"], line["note"], line["task"])
    return values


def normal_setting(*settings: str) -> str:
    """`ratio=0.7;scope=sa` however its parts are ordered, split and written: 1.0 is 1."""
    parts = [part for setting in settings for part in setting.split(";") if part]
    return ";".join(sorted(map(_normal_part, parts)))


def _normal_part(part: str) -> str:
    key, equals, value = part.partition("=")
    try:
        return f"{key}={float(value):g}"
    except ValueError:
        return f"{key}{equals}{value}"
