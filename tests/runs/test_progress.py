"""Pace, and how it is shown on a terminal and in a log."""

import io
import re
import time

import pytest

from bigain.runs.progress import Meter, Pace, ShardProgress, duration


class Clock:
    """A clock that tests move."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def test_rate_and_time_left_are_those_of_the_last_minute(clock: Clock) -> None:
    pace = Pace(1000, done=100)
    assert (pace.rate(), pace.left()) == (0.0, None)
    for _ in range(300):  # slow at first
        clock.now += 1
        pace.add()
    assert pace.rate() == pytest.approx(1.0)
    assert pace.left() == pytest.approx(600)
    for _ in range(100):
        clock.now += 1
        pace.add(4)
    assert pace.rate() == pytest.approx(4.0, rel=0.02)
    assert pace.left() == pytest.approx(200 / 4, rel=0.02)
    clock.now += 60  # and then nothing more comes
    assert pace.rate() == pytest.approx(2.0, rel=0.05)


def test_without_a_terminal_there_is_a_line_a_minute(clock: Clock) -> None:
    shown = io.StringIO()
    with Meter(600, "mini_dit none", "image", stream=shown) as meter:
        for _ in range(600):
            clock.now += 0.5
            meter.advance()
    lines = shown.getvalue().splitlines()
    assert lines[0] == "mini_dit none: 0/600 images"
    assert lines[1] == "mini_dit none: 120/600 images, 2 images/s, 4 min 0 s left"
    assert lines[-1] == "mini_dit none: 600/600 images, 2 images/s"
    assert [re.findall(r": (\d+)/", line)[0] for line in lines] == [
        *("0", "120", "240", "360", "480", "600")
    ]


def test_what_ends_early_says_how_far_it_came(clock: Clock) -> None:
    shown = io.StringIO()
    meter = Meter(9, "x", "image", stream=shown).__enter__()
    meter.advance()
    meter.__exit__(RuntimeError, RuntimeError(), None)
    assert [line.partition(",")[0] for line in shown.getvalue().splitlines()] == [
        "x: 0/9 images",
        "x: 1/9 images",
    ]


@pytest.mark.parametrize(("total", "is_shown"), [(0, True), (5, False)])
def test_nothing_to_do_and_nothing_to_show_is_no_line(total: int, is_shown: bool) -> None:
    for stream in (io.StringIO(), Terminal()):
        with Meter(total, "x", "image", is_shown=is_shown, stream=stream) as meter:
            for _ in range(total):
                meter.advance()
        if isinstance(stream, Terminal) and is_shown:
            continue
        assert stream.getvalue() == ""


def test_a_terminal_has_a_bar_with_rate_and_time_left() -> None:
    terminal = Terminal()
    with Meter(3, "mini_dit none", "image", stream=terminal) as meter:
        for _ in range(3):
            time.sleep(0.12)  # tqdm draws ten times a second
            meter.advance()
    drawn = terminal.getvalue()
    assert re.search(r"mini_dit none: +67%.*2/3 \[00:00<00:00, +[\d.]+image/s\]", drawn)
    assert "\n" not in drawn


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (275, "4 min 35 s")),
        *((7500, "2 h 5 min"), (273600, "3 d 4 h")),
    ],
)
def test_durations_have_two_units(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_beat_of_a_shard_says_how_far_it_is(clock: Clock) -> None:
    said = ShardProgress()
    assert not {"done", "total", "images_per_s"} & said().keys()
    said.pace = Pace(10, done=4)
    clock.now += 2
    said.pace.add()
    found = said()
    assert (found["done"], found["total"], found["images_per_s"]) == (5, 10, 0.5)
    assert re.match(r"\d{4}-\d\d-\d\dT", found["started"])
