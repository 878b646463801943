"""The paper's printed values, with their status and remarks: facts to compare shapes with.

`bigain/assets/paper_tables.csv` has one row per cell of the 18 tables, `value` exactly as printed.
Differences between methods are rows of their own: metric `delta_<metric>`, setting `...;vs=rival`.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

from bigain.errors import UserError
from bigain.locations import ASSETS

__all__ = ["PaperKey", "PaperValue", "PaperValues", "load_paper"]

_COLUMNS = (
    *("table", "backbone", "dataset", "task", "method", "setting", "metric"),
    *("value", "status", "note"),
)


@dataclass(frozen=True)
class PaperKey:
    """The columns that name one cell; `setting` is empty for no acceleration."""

    table: int
    backbone: str
    dataset: str
    task: str
    method: str
    setting: str
    metric: str


@dataclass(frozen=True)
class PaperValue:
    """A value as printed (empty if lost), its status (reported, lost, derived) and a remark."""

    text: str
    status: str
    note: str


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
            names = (line[column] for column in _COLUMNS[1:7])
            key = PaperKey(int(line["table"]), *names)
            if key in values:
                raise UserError(f"{path}: line {reader.line_num}: a second value for {key}")
            values[key] = PaperValue(line["value"], line["status"], line["note"])
    return values
