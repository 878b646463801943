from typing import get_args

import pytest

from bigain.doctor.findings import AREAS, Area, Finding, Status, from_error
from bigain.errors import UserError


@pytest.mark.parametrize(
    ("status", "needed", "stops"),
    [
        ("ready", True, False),
        ("ready", False, False),
        ("missing", True, True),
        ("missing", False, False),
        ("problem", True, True),
        ("problem", False, False),
    ],
)
def test_what_is_needed_and_not_ready_stops(status: Status, needed: bool, stops: bool) -> None:
    assert Finding("disk", "x", status, "what", needed=needed).stops is stops


def test_every_area_is_printed_once() -> None:
    assert sorted(AREAS) == sorted(get_args(Area))


def test_an_error_is_parted_at_its_way_out() -> None:
    error = UserError("dataset.root=x: is empty; allowed: a folder with images")
    found = from_error("datasets", "pets", error)
    assert found.what == "dataset.root=x: is empty"
    assert found.advice == ("allowed: a folder with images",)
    assert found.stops


def test_an_error_without_a_way_out_has_no_advice() -> None:
    found = from_error("datasets", "pets", UserError("broken"), needed=False)
    assert (found.what, found.advice, found.stops) == ("broken", (), False)
