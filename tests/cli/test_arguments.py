from pathlib import Path

import pytest

from bigain.cli.arguments import VerbParser
from bigain.errors import UserError


def test_every_verb_knows_results() -> None:
    parser = VerbParser("greet", "Say something.")
    assert parser.parse_args([]).results is None
    assert parser.parse_args(["--results", "a/b"]).results == Path.cwd() / "a/b"
    assert parser.parse_args(["--results=~/b"]).results == Path.home() / "b"


def test_a_verb_without_runs_has_no_results() -> None:
    with pytest.raises(UserError, match="unrecognized arguments: --results"):
        VerbParser("greet", "Say something.", results=False).parse_args(["--results", "a"])


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--loud"], "unrecognized arguments: --loud; "),
        (["--reslts=x"], "; did you mean --results?"),
        (["--results"], "expected one argument"),
        (["--resul", "x"], "unrecognized arguments: --resul x"),
    ],
)
def test_complaints_are_one_line_with_the_usage(
    arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UserError) as caught:
        VerbParser("greet", "Say something.").parse_args(arguments)
    message = str(caught.value)
    assert message.startswith("bigain greet: ")
    assert expected in message
    assert "usage: bigain greet [-h] [--results DIR]" in message
    assert "\n" not in message
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--count", "x"], "--count=x: allowed: a whole number"),
        (["--count=1.5"], "--count=1.5: allowed: a whole number"),
        (["--speed", ""], "--speed=: allowed: a number"),
        (
            ["--results=~nobody-of-this-name/a"],
            "--results=~nobody-of-this-name/a: there is no user ~nobody-of-this-name; "
            "allowed: a path",
        ),
        (["--colour", "gren"], "--colour=gren: allowed: red, green; did you mean green?"),
    ],
)
def test_a_wrong_value_is_named_as_that_of_a_setting(words: list[str], expected: str) -> None:
    parser = VerbParser("greet", "Say something.")
    parser.add_argument("--count", type=int)
    parser.add_argument("--speed", type=float)
    parser.add_argument("--colour", choices=["red", "green"])
    with pytest.raises(UserError) as caught:
        parser.parse_args(words)
    assert str(caught.value) == expected


@pytest.mark.parametrize("word", ["--xyzzy", "result"])
def test_nothing_is_suggested_for_what_resembles_no_option(word: str) -> None:
    with pytest.raises(UserError, match=r"usage: bigain greet \[-h\] \[--results DIR\]$"):
        VerbParser("greet", "Say something.").parse_args([word])
