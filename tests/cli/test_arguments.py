from pathlib import Path

import pytest

from bigain.cli.arguments import VerbParser
from bigain.cli.main import VERBS, main
from bigain.errors import UserError


def test_every_verb_knows_results() -> None:
    parser = VerbParser("greet", "Say something.")
    assert parser.parse_args([]).results is None
    assert parser.parse_args(["--results", "a/b"]).results == Path.cwd() / "a/b"
    assert parser.parse_args(["--results=~/b"]).results == Path.home() / "b"
    for word in ("paths.results=~/b", "+paths.results=~/b", "++paths.results=~/b"):
        assert parser.parse_args([word]).results == Path.home() / "b"


WORDS = {
    **{"compare": ["a", "b"], "sync-wandb": ["--all"], "demo": ["--images", "0"]},
    **{"collect": ["--check"], "figures": ["ratio"]},
}
"""Verb -> arguments that it needs."""


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_a_verb_with_results_takes_the_runners_word_for_it(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both ways to name a folder that is a file end in the same line."""
    assert main([verb, "--help"]) == 0
    if "--results" not in capsys.readouterr().out:
        return
    (tmp_path / "file").touch()
    folder, ends = tmp_path / "file" / "x", []
    for given in (["--results", str(folder)], [f"paths.results={folder}"]):
        code = main([verb, *WORDS.get(verb, []), *given])
        ends.append((code, *capsys.readouterr()))
    assert ends[0] == ends[1]
    assert "paths.results: " not in ends[1][2]


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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["compare", "a", "b", "--html", ""], "--html='': is empty; allowed: a path"),
        (["sync-wandb", "--all", "--project", ""], "--project='': is empty; allowed: a name"),
        (["sync-wandb", "--all", "--entity="], "--entity='': is empty; allowed: a name"),
        (["sync-wandb", "--all", "--profile", "papr"], "--profile=papr: allowed: mini, paper; did"),
        (["dashboard", "--project", ""], "--project='': is empty; allowed: a name"),
        (["dashboard", "--profile", "papr"], "--profile=papr: allowed: mini, paper; did"),
    ],
    ids=str,
)
def test_values_that_are_no_choice_are_named(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith(message)
    assert err.count("\n") == 1
