import json
from typing import get_args

from bigain.doctor.findings import (
    AREAS,
    Area,
    Finding,
    as_json,
    as_text,
    first_that_stops,
    from_error,
)
from bigain.errors import UserError


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


READY = Finding("environment", "python", "ready", "3.11 (>=3.11)")
MISSING = Finding(
    "datasets", "pets", "missing", "there is no folder data", ("get it", "lay it out")
)
BROKEN = Finding("backbones", "sd20", "problem", "vae/x.safetensors is cut short")
OPTIONAL = Finding("optional", "wandb", "missing", "is not installed", needed=False)
LONG = Finding("device", "device=cpu", "ready", "word " * 60, ("other " * 40,))


def test_areas_come_in_their_order_whatever_the_order_of_findings() -> None:
    text = as_text([OPTIONAL, MISSING, BROKEN, READY])
    heads = [line for line in text.splitlines() if line and not line.startswith(" ")]
    assert heads[:-1] == ["environment", "backbones", "datasets", "optional"]


def test_a_finding_is_a_line_and_each_advice_another() -> None:
    lines = as_text([MISSING]).splitlines()
    assert lines[:4] == [
        "datasets",
        "  missing  pets  there is no folder data",
        "                 -> get it",
        "                 -> lay it out",
    ]


def test_lines_are_no_wider_than_a_terminal_and_lose_nothing() -> None:
    text = as_text([LONG, READY])
    assert max(map(len, text.splitlines())) <= 100
    assert text.count("word") == 60
    assert text.count("other") == 40
    assert "\x1b" not in text


def test_the_last_line_is_the_outcome() -> None:
    assert as_text([READY, LONG]).splitlines()[-1] == "ready: everything that is needed is here"
    outcome = as_text([READY, OPTIONAL]).splitlines()[-1]
    assert outcome == "ready: everything that is needed is here (not needed for it: wandb)"
    assert as_text([BROKEN, MISSING, OPTIONAL, READY]).splitlines()[-1] == (
        "not ready: sd20, pets (not needed for it: wandb)"
    )


def test_json_holds_every_finding() -> None:
    told = json.loads(as_json([READY, MISSING]))
    assert told["ready"] is False
    assert told["findings"][1] == {
        "area": "datasets",
        "subject": "pets",
        "status": "missing",
        "what": "there is no folder data",
        "advice": ["get it", "lay it out"],
        "needed": True,
    }
    assert json.loads(as_json([READY, OPTIONAL]))["ready"] is True


def test_one_line_names_the_first_that_stops() -> None:
    assert first_that_stops([READY, OPTIONAL]) == ""
    assert first_that_stops([READY, MISSING, BROKEN, OPTIONAL]) == (
        "bigain doctor: 2 of 3 things needed are not ready; first, pets is missing: there is no "
        "folder data; get it; lay it out"
    )
    assert first_that_stops([BROKEN]) == (
        "bigain doctor: 1 of 1 things needed are not ready; first, sd20 is not usable: "
        "vae/x.safetensors is cut short"
    )
