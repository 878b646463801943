"""The paper's own sizes of what the claims test, from its printed cells."""

from bigain.config.paper import PaperKey, PaperValues, normal_setting
from bigain.errors import UserError
from bigain.tables.claims import ClaimsSpec, CountTest, PairTest

__all__ = ["counted_size", "printed_size"]

_PRINTED = {"acc1": "acc1", "map_image": "map", "frechet_mini": "fid"}
"""Metric -> that of the paper's cells."""


def printed_size(
    spec: ClaimsSpec, paper: PaperValues, backbone: str, test: PairTest
) -> float | None:
    """The paper's difference, or difference of two differences; None if the test names no cells.

    Raises:
        UserError: A cell is not printed, or the paper has no such metric.

    """
    place = test.paper.get(backbone)  # type: ignore[call-overload]
    if place is None:
        return None
    if test.metric not in _PRINTED:
        raise UserError(f"claims: paper: metric={test.metric}: allowed: {', '.join(_PRINTED)}")
    names = [test.cells.get(name, spec.runs[name].cell) for name in test.runs]
    cells = [_printed(paper, f"{place}/{name}/{_PRINTED[test.metric]}") for name in names]
    return sum(sign * cell for sign, cell in zip((1, -1, -1, 1), cells, strict=False))


def counted_size(paper: PaperValues, test: CountTest) -> float:
    """The paper's count, or the difference of two; UserError if a cell is not printed."""
    size = _printed(paper, test.paper) if test.size is None else test.size
    return size - _printed(paper, test.minus_paper) if test.minus_paper else size


def _printed(paper: PaperValues, key: str) -> float:
    """The value of table/backbone/dataset/method/setting/metric."""
    parts = key.split("/")
    if len(parts) != 6 or not parts[0].isdecimal():
        raise UserError(f"claims: {key}: not table/backbone/dataset/method/setting/metric")
    table, backbone, dataset, method, setting, metric = parts
    cell = PaperKey(int(table), backbone, dataset, method, normal_setting(setting), metric)
    number = paper[cell].number if cell in paper else None
    if number is None:
        raise UserError(f"claims: {key}: the paper prints no number there, or it is lost")
    return number
