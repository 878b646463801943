"""A journal loses at most the record that was being written when its process died."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bigain.errors import FaultError, UserError
from bigain.runs.images_done import ImagesDone
from bigain.runs.journal import (
    Journal,
    count_records,
    entries,
    iterate_journal,
    journal_name,
    journal_paths,
    read_journals,
)
from bigain.runs.ordered import OrderedRecords

MakeRecord = Callable[..., dict[str, Any]]


def write_journal(path: Path, records: list[dict[str, Any]]) -> None:
    with Journal(path) as journal:
        for record in records:
            journal.append([record])


def test_each_record_is_on_disk_when_append_returns(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    path = tmp_path / "journal-0of1.jsonl"
    assert [*iterate_journal(path)] == []
    with Journal(path) as journal:
        for count in (1, 2, 3):
            journal.append([make_record(count)])
            assert [*iterate_journal(path)] == [make_record(i) for i in range(1, count + 1)]


def test_a_journal_cut_at_any_byte_keeps_its_whole_lines_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal-0of1.jsonl"
    records: list[dict[str, Any]] = [{"image_id": 1}, {"image_id": 2, "x": "ä\n"}, {"image_id": 3}]
    write_journal(path, records)
    content = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    assert len(ends) == 3
    for cut in range(len(content) + 1):
        path.write_bytes(content[:cut])
        whole = records[: sum(end <= cut for end in ends)]
        assert [*iterate_journal(path)] == whole, cut
        assert path.read_bytes() == content[:cut], "reading must not write"
        write_journal(path, [{"image_id": 99}])
        assert [*iterate_journal(path)] == [*whole, {"image_id": 99}], cut


def test_a_damaged_line_names_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "journal-0of1.jsonl"
    for damage in (b'{"image_id": 2, "va\n', b"[1]\n", b"{}\n", b"\x00\xff\n", b"\n"):
        path.write_bytes(b'{"image_id": 1}\n' + damage + b'{"image_id": 3}\n')
        with pytest.raises(UserError, match=r"journal-0of1\.jsonl: line 2 is damaged.*force=true"):
            [*iterate_journal(path)]


def test_journals_of_all_shards_of_any_count_are_read_and_the_first_record_counts(
    tmp_path: Path,
) -> None:
    write_journal(tmp_path / journal_name(1, 2), [{"image_id": 1, "by": "1of2"}])
    write_journal(tmp_path / journal_name(0, 1), [{"image_id": 1, "by": "0of1"}, {"image_id": 2}])
    write_journal(tmp_path / journal_name(2, 3), [{"image_id": 4}, {"image_id": 4, "by": "again"}])
    (tmp_path / "journal.txt").write_text("not one of them")
    assert read_journals(tmp_path) == {
        1: {"image_id": 1, "by": "0of1"},
        2: {"image_id": 2},
        4: {"image_id": 4},
    }
    assert [path.name for path in journal_paths(tmp_path)] == [
        "journal-0of1.jsonl",
        "journal-1of2.jsonl",
        "journal-2of3.jsonl",
    ]


def test_not_a_number_becomes_null_at_any_depth(tmp_path: Path) -> None:
    path = tmp_path / "journal-0of1.jsonl"
    nan = float("nan")
    write_journal(
        path, [{"image_id": 1, "variance": nan, "errors": (1.0, nan), "deep": {"x": [nan]}}]
    )
    expected = {"image_id": 1, "variance": None, "errors": [1.0, None], "deep": {"x": [None]}}
    assert json.loads(path.read_text()) == expected


@pytest.mark.parametrize(
    ("value", "kind"), [(float("inf"), ValueError), ({1, 2}, TypeError), (b"x", TypeError)]
)
def test_what_json_cannot_hold_is_refused_and_leaves_no_trace(
    tmp_path: Path, value: object, kind: type[Exception]
) -> None:
    path = tmp_path / "journal-0of1.jsonl"
    write_journal(path, [{"image_id": 1}])
    with Journal(path) as journal, pytest.raises(kind):
        journal.append([{"image_id": 2}, {"image_id": 3, "value": value}])
    assert [*iterate_journal(path)] == [{"image_id": 1}]


def test_what_has_a_record_is_read_from_the_beginnings_of_lines(tmp_path: Path) -> None:
    path = tmp_path / "journal-0of1.jsonl"
    write_journal(path, [{"adopted_from": "ab", "image_id": 7, "x": 1}, {"image_id": -3}])
    write_journal(path, [{"x": "\u2028", "image_id": 4}])
    with path.open("ab") as handle:
        handle.write(b'{"image_id": 5')  # being written now
    assert list(entries(tmp_path)) == [(7, "ab"), (-3, None), (4, None)]
    assert count_records(tmp_path) == 3


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize(
    "damage", ["", "rubbish", '{"image_id": 1, "x"', "[]", '{"image_id": "1"}', "\0" * 9]
)
def test_damage_is_found_without_parsing_all(tmp_path: Path, damage: str, place: int) -> None:
    lines = ['{"image_id": 1, "x": [1, 2]}'] * 3
    lines[place] = damage
    (tmp_path / "journal-0of1.jsonl").write_text("".join(f"{line}\n" for line in lines))
    wrong = rf"journal-0of1\.jsonl: line {place + 1} is damaged"
    with pytest.raises(UserError, match=wrong):
        list(entries(tmp_path))
    if place != 1:  # counting looks at the first and the last line
        with pytest.raises(UserError, match=wrong):
            count_records(tmp_path)


def test_counting_is_right_for_lines_longer_than_a_block(tmp_path: Path) -> None:
    path = tmp_path / "journal-0of1.jsonl"
    assert count_records(tmp_path) == 0
    path.touch()
    assert count_records(tmp_path) == 0
    write_journal(path, [{"image_id": i, "x": "x" * (3 << 20)} for i in range(3)])
    assert count_records(tmp_path) == 3
    write_journal(tmp_path / "journal-0of2.jsonl", [{"image_id": 9}])
    assert count_records(tmp_path) == 4


def test_records_come_in_the_order_of_the_dataset_whatever_the_shards_wrote(
    tmp_path: Path,
) -> None:
    lines = {0: [(14, "a"), (19, "ä" * 40)], 1: [(12, "c"), (11, "d"), (14, "later")]}
    for index, written in lines.items():
        with Journal(tmp_path / journal_name(index, 2)) as journal:
            for image_id, text in written:
                journal.append([{"image_id": image_id, "text": text}])
    images = ImagesDone([19, 11, 14, 12])
    images.add([19, 11, 14, 12])
    records = OrderedRecords(tmp_path, images)
    expected = [(19, "ä" * 40), (11, "d"), (14, "a"), (12, "c")]
    for _ in range(2):
        assert [(each["image_id"], each["text"]) for each in records] == expected
    assert len(records) == 4


def test_a_damaged_or_removed_line_is_named_when_it_is_needed(tmp_path: Path) -> None:
    path = tmp_path / journal_name(0, 1)
    write_journal(path, [{"image_id": 1}, {"image_id": 2, "x": "y"}])
    images = ImagesDone([2, 1])
    images.add([1, 2])
    records = OrderedRecords(tmp_path, images)
    path.write_bytes(path.read_bytes().replace(b'"y"', b"'y'"))
    with pytest.raises(UserError, match="line 2 is damaged"):
        list(records)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(FaultError, match="the records of 1 images are gone"):
        OrderedRecords(tmp_path, images)
