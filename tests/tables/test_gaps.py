"""Empty cells, counted in a table's CSV file."""

import csv
import io
from collections.abc import Callable

import pytest

from bigain.config import RunConfig
from bigain.tables.formats import render_legend
from bigain.tables.gaps import Gaps, count_gaps, together
from bigain.tables.layout import lay_out
from bigain.tables.sources import Sources
from bigain.tables.tidy import render_csv

MakeSources = Callable[..., Sources]


def counted(sources: Sources) -> Gaps:
    lines = csv.DictReader(io.StringIO(render_csv(sources)))
    return count_gaps(sources.plan.spec, sources.plan.profile, lines)


def only_tome(config: RunConfig) -> bool:
    return config.operator.name in ("none", "tome")


@pytest.mark.parametrize("number", [1, 4, 14, 17])
def test_it_counts_the_cells_that_the_page_has(make_sources: MakeSources, number: int) -> None:
    for sources in (make_sources(number, only_tome), make_sources(number)):
        own = counted(sources)
        assert (own.cells - own.empty, own.cells) == lay_out(sources).measured
        assert own.runs == len(sources.plan.distinct())
        assert own.missing == len(sources.plan.missing())
    assert own.empty == own.missing == 0


def test_a_cell_of_one_missing_run_by_hand(make_sources: MakeSources) -> None:
    """Table 12: three ways to keep keys and values; accuracy and raw noise error are shown."""
    own = counted(make_sources(12, lambda config: "high" not in str(config.operator.settings())))
    assert own == Gaps("12", cells=6, empty=2, runs=4, missing=1)
    assert own.percent == "33.3"


def test_tables_together_are_those_of_the_paper() -> None:
    gaps = [Gaps("1", 10, 1, 4, 1), Gaps("18", 30, 3, 4, 2), Gaps("19", 5, 5, 1, 1)]
    assert together(gaps[:2], "both") == Gaps("both", 40, 4, 8, 3)
    lines = render_legend("mini", gaps).splitlines()
    assert lines[-4:] == [
        "| 1 | 10 | 1 | 10.0 | 4 | 1 |",
        "| 18 | 30 | 3 | 10.0 | 4 | 2 |",
        "| 1 to 18 | 40 | 4 | 10.0 | 8 | 3 |",
        "| 19 | 5 | 5 | 100.0 | 1 | 1 |",
    ]
    assert "Empty cells" not in render_legend("mini")
