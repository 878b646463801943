import pytest

from bigain.cli import main as cli
from bigain.errors import UserError


def test_it_prints_as_its_message_alone() -> None:
    assert str(UserError("seed=-1: allowed: >= 0")) == "seed=-1: allowed: >= 0"


def test_it_is_no_error_that_code_would_catch_by_accident() -> None:
    assert UserError.__mro__[1] is Exception
    for accidental in (ValueError, KeyError, OSError, RuntimeError):
        assert not issubclass(UserError, accidental)


def test_it_ends_the_command_line_with_code_two_and_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: object) -> int:
        raise UserError("a=b: allowed: c")

    monkeypatch.setattr("bigain.cli.status.main", refuse)
    assert cli.main(["status"]) == 2
    assert capsys.readouterr().err == "a=b: allowed: c\n"
