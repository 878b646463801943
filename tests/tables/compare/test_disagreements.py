"""Which images a page shows, and how it groups them."""

from collections.abc import Callable

import pandas as pd
import pytest

from bigain.runs.pairing import FinishedRun
from bigain.tables import disagreements
from bigain.tables.disagreements import MOST, agreement, common_images, groups

Make = Callable[..., FinishedRun]


def ids(run: FinishedRun, *places: int) -> list[int]:
    return [int(run.samples["image_id"][place]) for place in places]


def test_images_are_grouped_by_who_is_right_and_sorted_by_margin(classify: Make) -> None:
    a = classify(wrong={1: -0.1, 2: -0.5, 3: 0.0, 7: 0.1}, name="tome")
    b = classify(wrong={3: 0.0, 5: -0.2, 7: 0.1}, shift=2, name="none")
    found = groups([a, b], ["A", "B"])
    assert [(each.title, each.count) for each in found] == [
        ("Right in B; wrong in A", 2),
        ("Right in A; wrong in B", 1),
        ("Wrong in all runs, with different predictions", 2),
    ]
    assert list(found[0].image_ids) == ids(a, 2, 1), "the larger difference of margins first"
    assert list(found[1].image_ids) == ids(a, 5)
    assert set(found[2].image_ids) == set(ids(a, 3, 7))


def test_equal_predictions_are_no_disagreement(classify: Make) -> None:
    a = classify(wrong={1: -0.1, 2: -0.5}, name="tome")
    b = classify(wrong={1: -0.3, 2: 0.5}, name="none")
    assert groups([a, b], ["A", "B"]) == []


def test_counts_are_those_of_the_records(classify: Make) -> None:
    a = classify(wrong={1: -0.1, 2: -0.5, 3: 0.0}, name="tome")
    b = classify(limit=12, wrong={3: 0.0, 5: -0.2}, shift=2, name="none")
    found = agreement(a, b)
    assert found is not None
    left, right = (run.samples.set_index("image_id")["correct"] for run in (a, b))
    table = pd.crosstab(left.loc[right.index], right)
    assert (found.both, found.run) == (table.loc[True, True], table.loc[True, False])
    assert (found.reference, found.neither) == (table.loc[False, True], table.loc[False, False])
    assert (found.both, found.run, found.reference, found.neither) == (8, 1, 2, 1)
    assert found.other == 4


def test_several_runs_meet_on_the_images_of_all(classify: Make) -> None:
    runs = [classify(limit=n, name="tome", ratio=r) for n, r in ((20, 0.5), (8, 0.7))]
    runs.append(classify(limit=12, name="none"))
    assert [len(frame) for frame in common_images(runs)] == [8, 8, 8]


def test_few_images_are_shown_and_all_are_counted(classify: Make) -> None:
    a = classify(limit=200, wrong=dict.fromkeys(range(150), 0.0), name="tome")
    b = classify(limit=200, name="none")
    (found,) = groups([a, b], ["A", "B"])
    assert (found.count, len(found.image_ids)) == (150, MOST)


def test_rare_combinations_share_a_group(classify: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disagreements, "_MOST_GROUPS", 2)
    wrongs = ({1: 0.0, 2: 0.0, 3: 0.0}, {4: 0.0, 5: 0.0}, {6: 0.0})
    runs = [
        classify(wrong=wrong, name="tome", ratio=ratio)
        for wrong, ratio in zip(wrongs, (0.3, 0.5, 0.7), strict=True)
    ]
    found = groups([*runs, classify(wrong={9: 0.0}, name="none")], ["A", "B", "C", "D"])
    assert [(each.title, each.count) for each in found] == [
        ("Right in B, C, D; wrong in A", 3),
        ("Right in A, C, D; wrong in B", 2),
        ("2 further combinations of right and wrong runs", 2),
    ]


def test_generated_images_differ_by_their_share_in_the_distance(generate: Make) -> None:
    a = generate({0: 10, 1: 200, 2: 30}, name="tome")
    b = generate({0: 20, 1: 20, 2: 60}, name="none")
    (found,) = groups([a, b], ["A", "B"])
    assert (found.count, found.image_ids) == (3, (1, 2, 0))
    assert agreement(a, b) is None, "nobody classified them"
