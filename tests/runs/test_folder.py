from pathlib import Path

import pytest

from bigain.errors import UserError
from bigain.runs.files import check_results, make_results, need_results


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.touch()
    return path


def test_a_folder_that_could_be_made_is_fine_and_not_made(tmp_path: Path) -> None:
    check_results(tmp_path)
    check_results(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []


def test_relative_paths_start_at_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make_results(Path("a/b"))
    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("function", [check_results, make_results])
def test_a_file_is_no_folder_to_write_to(file: Path, function: object) -> None:
    assert callable(function)
    with pytest.raises(UserError) as caught:
        function(file)
    assert str(caught.value) == f"paths.results={file}: allowed: a folder one can write to"
    with pytest.raises(UserError, match=r"below: allowed: a folder .* \(.*file is not\)$"):
        function(file / "below")


def test_the_folder_is_made_with_its_parents_and_may_exist(tmp_path: Path) -> None:
    make_results(tmp_path / "a" / "b")
    make_results(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_what_the_system_refuses_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under `/proc`, which says that it can be written to and then refuses."""

    def refuse(*_: object, **__: object) -> None:
        raise FileNotFoundError(2, "No such file or directory")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(UserError) as caught:
        make_results(tmp_path / "x")
    assert str(caught.value) == (
        f"paths.results={tmp_path / 'x'}: allowed: a folder one can write to "
        "(No such file or directory)"
    )


def test_reading_needs_a_folder_that_exists(tmp_path: Path, file: Path) -> None:
    need_results(tmp_path)
    with pytest.raises(UserError, match=r"^paths\.results=.*file: is not a folder; allowed: "):
        need_results(file)
    with pytest.raises(UserError, match=r"^paths\.results=.*absent: does not exist; allowed: "):
        need_results(tmp_path / "absent")
