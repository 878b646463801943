from pathlib import Path

import pytest

from bigain.launch.compose import compose_configs
from bigain.tables.report import sources
from bigain.tables.report.sources import planned_tables
from bigain.tables.spec import table_numbers


@pytest.fixture(autouse=True)
def _two_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """All of them take long to compose."""
    numbers = table_numbers()[-2:]
    monkeypatch.setattr(sources, "table_numbers", lambda: numbers)


def test_every_table_comes_with_the_runs_that_it_needs(tmp_path: Path) -> None:
    tables = planned_tables(compose_configs, "mini", tmp_path)
    assert [table.document.number for table in tables] == table_numbers()[-2:]
    for table in tables:
        assert len(set(table.runs)) == len(table.runs)
        assert len(table.document.commands) == len(table.runs) > 0
        assert f"paths.results={tmp_path}" in table.document.command


def test_the_configured_folder_is_not_named_in_commands() -> None:
    tables = planned_tables(compose_configs, "mini", None)
    assert not [c for table in tables for c in table.document.commands if "paths" in c]
