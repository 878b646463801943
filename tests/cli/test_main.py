import os
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

from bigain.cli import main as cli
from bigain.errors import UserError

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def verb(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A verb `greet` that remembers its arguments and can end in several ways."""
    module = ModuleType("greeting")
    seen: list[list[str]] = []
    module.__dict__["seen"] = seen

    def main(arguments: list[str]) -> int | None:
        seen.append(arguments)
        if arguments[:1] == ["raise"]:
            endings: dict[str, BaseException] = {
                "user": UserError("name=x: allowed:\n  y"),
                "stop": KeyboardInterrupt(),
                "exit": SystemExit(3),
                "text": SystemExit("bad"),
                "leave": SystemExit(None),
                "bug": RuntimeError("bug"),
            }
            raise endings[arguments[1]]
        return None if not arguments else int(arguments[0])

    module.__dict__["main"] = main
    monkeypatch.setitem(sys.modules, "greeting", module)
    monkeypatch.setitem(cli.VERBS, "greet", "greeting")
    return module


def python(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BIGAIN_")}
    return subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        env={**environment, "PYTHONPATH": str(ROOT)},
    )


def test_a_verb_gets_the_rest_of_the_line(verb: ModuleType) -> None:
    assert cli.main(["greet"]) == 0
    assert cli.main(["greet", "4", "--loud", "a=b"]) == 4
    assert verb.seen == [[], ["4", "--loud", "a=b"]]


@pytest.mark.parametrize(
    ("ending", "code", "message"),
    [
        ("user", 2, "name=x: allowed: y\n"),
        ("stop", 1, "interrupted; the same command continues where it stopped\n"),
        ("exit", 3, ""),
        ("text", 1, ""),
        ("leave", 0, ""),
    ],
)
def test_endings_become_exit_codes(
    verb: ModuleType, capsys: pytest.CaptureFixture[str], ending: str, code: int, message: str
) -> None:
    assert cli.main(["greet", "raise", ending]) == code
    assert capsys.readouterr() == ("", message)


def test_a_bug_keeps_its_trace_back(verb: ModuleType) -> None:
    with pytest.raises(RuntimeError, match="bug"):
        cli.main(["greet", "raise", "bug"])


def test_the_arguments_of_the_process_are_the_default(
    verb: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["bigain", "greet", "5"])
    assert cli.main() == 5


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("statsu", "statsu: no such verb; allowed: doctor, status, collect, .*did you mean status"),
        ("tabel", "did you mean table"),
        (
            "xyzzy",
            "no such verb; allowed: doctor, status, .*, fid, demo, calibrate, or key=value$",
        ),
    ],
)
def test_a_misspelt_verb_is_recognised(
    word: str, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([word, "4"]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    with pytest.raises(UserError, match=expected):
        raise UserError(err.strip().removesuffix("?"))


@pytest.mark.parametrize(
    "name",
    [
        *("doctor", "status", "collect", "compare", "analysis", "figures", "report", "flops"),
        *("fid", "demo"),
    ],
)
def test_every_verb_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([name, "--help"]) == 0
    assert f"usage: bigain {name}" in capsys.readouterr().out


def test_the_configuration_is_shown_quickly_without_torch(tmp_path: Path) -> None:
    code = (
        "import sys, bigain.cli.main\n"
        "assert bigain.cli.main.main(['--cfg', 'job', 'operator=lgtm']) == 0\n"
        "heavy = {'torch', 'diffusers', 'pandas', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    started = time.process_time(), os.times().children_user
    done = python("-c", code, cwd=tmp_path)
    seconds = os.times().children_user - started[1]
    assert done.returncode == 0, done.stderr
    assert "name: lgtm" in done.stdout
    assert seconds < 2.5
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_is_one_line_of_stderr_and_code_2_for_the_shell(tmp_path: Path) -> None:
    done = python("-m", "bigain", "+operator.ratoi=0.7", "operator=lgtm", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("+operator.ratoi=0.7: no such key of operator=lgtm; allowed: ")
    assert done.stderr.endswith("; did you mean operator.ratio?\n")
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_reader_may_leave_early(tmp_path: Path) -> None:
    code = "import bigain.cli.main; raise SystemExit(bigain.cli.main.main(['--help']))"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-u", "-c", code]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, **pipes) as process:  # type: ignore[call-overload]
        process.stdout.close()
        stderr = process.stderr.read()
        process.wait()
    assert (process.returncode, stderr) == (1, b"")
