"""Files are whole or untouched, whatever happens while they are written."""

import csv
import threading
from pathlib import Path

import pytest

from bigain.errors import UserError
from bigain.files import append_csv_row, csv_text, parse_json, replace_file, replace_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_replace_text_creates_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b.txt"
    replace_text(path, "ä\r\nb\n")
    assert path.read_bytes() == "ä\r\nb\n".encode()
    assert names(path.parent) == ["b.txt"]
    replace_text(path, "x")
    assert path.read_text() == "x"


def test_failing_writer_leaves_the_old_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")

    def write_half(temporary: Path) -> None:
        temporary.write_text("ne")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        replace_file(path, write_half)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["x"]


def test_old_content_is_visible_until_the_writer_returns(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("old")
    seen = []

    def write(temporary: Path) -> None:
        temporary.write_text("new")
        seen.append(path.read_text())

    replace_file(path, write)
    assert seen == ["old"]
    assert path.read_text() == "new"


def test_threads_replacing_one_file_do_not_take_each_others_temporary(tmp_path: Path) -> None:
    path = tmp_path / "x"
    both_have_written = threading.Barrier(2, timeout=5)
    failures: list[BaseException] = []

    def replace(letter: str) -> None:
        def write(temporary: Path) -> None:
            temporary.write_text(letter * 3)
            both_have_written.wait()

        try:
            replace_file(path, write)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=replace, args=(letter,)) for letter in "ab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert path.read_text() in {"aaa", "bbb"}
    assert names(tmp_path) == ["x"]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_rows_gather_under_one_header(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "curve.csv"
    append_csv_row(path, {"step": 1, "note": 'a, "b"'})
    append_csv_row(path, {"step": 2, "note": "ü"})
    assert read(path) == [{"step": "1", "note": 'a, "b"'}, {"step": "2", "note": "ü"}]


def test_a_row_torn_at_any_byte_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    append_csv_row(path, {"step": 1, "loss": 0.5})
    first = path.read_bytes()
    append_csv_row(path, {"step": 2, "loss": 0.25})
    whole = path.read_bytes()
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        append_csv_row(path, {"step": 3, "loss": 0.125})
        kept = 1 if cut >= len(first) else 0
        assert [row["step"] for row in read(path)] == ["1"] * kept + ["3"], cut


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    append_csv_row(path, {"step": 1})
    with pytest.raises(UserError, match=r"curve\.csv: has columns step; allowed: step,loss"):
        append_csv_row(path, {"step": 2, "loss": 1})
    assert read(path) == [{"step": "1"}]


def test_a_file_with_windows_line_ends_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_bytes(b"step,loss\r\n1,2\r\n")
    append_csv_row(path, {"step": 2, "loss": 1})
    assert [row["loss"] for row in read(path)] == ["2", "1"]


@pytest.mark.parametrize("text", ["[" * 100_000, b'{"a":' * 100_000, "{", ""])
def test_what_is_no_json_is_one_kind_of_error(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 -- json's message, or ours
        parse_json(text)
    assert parse_json('{"a": [1]}') == {"a": [1]}


def test_a_csv_has_its_columns_in_order_and_empty_cells_for_what_is_missing() -> None:
    rows: list[dict[str, object]] = [{"b": 1.5, "a": 'x,"y"'}, {"a": None}]
    assert csv_text(("a", "b"), rows) == 'a,b\n"x,""y""",1.5\n,\n'
    assert csv_text(["a"], []) == "a\n"
    with pytest.raises(ValueError, match="'c'"):
        csv_text(("a",), [{"c": 1}])
