from pathlib import Path

import pytest

from bigain.report.sources import planned_tables
from bigain.tables.spec import table_numbers


@pytest.mark.parametrize("profile", ["mini", "paper"])
def test_every_table_comes_with_the_runs_that_it_needs(tmp_path: Path, profile: str) -> None:
    tables = planned_tables(profile, tmp_path)
    assert [table.document.number for table in tables] == table_numbers()
    for table in tables:
        assert len(set(table.runs)) == len(table.runs)
        assert len(table.document.commands) == len(table.runs)


def test_the_configured_folder_is_not_named_in_commands() -> None:
    commands = [
        command for table in planned_tables("mini", None) for command in table.document.commands
    ]
    assert not [command for command in commands if "paths" in command]
