from typing import get_args

import pytest

from bigain.config.base import SETTING_COLUMNS
from bigain.config.operator_base import AlphaSchedule, OperatorSettings, ScoreName
from bigain.operators.scores import SCORES


class Odd(OperatorSettings):
    """Settings of which one is no cell of a table."""

    ratio: float = 0.25
    alpha: AlphaSchedule = AlphaSchedule(start=0.8, end=1.25)
    score: list[str] | None = None


def test_settings_are_the_cells_of_a_row() -> None:
    cells = {"ratio": 0.25, "factor": None, "alpha": "0.8->1.25", "score": None}
    cells |= dict.fromkeys(("scope", "strategy", "sparsity"))
    assert Odd().settings() == cells
    assert tuple(cells) == SETTING_COLUMNS


def test_what_is_no_cell_is_a_fault_of_the_code() -> None:
    with pytest.raises(TypeError, match="no table cell"):
        Odd(score=["a"]).settings()


def test_the_scores_are_those_of_the_operators_in_the_same_order() -> None:
    assert list(get_args(ScoreName)) == list(SCORES)
