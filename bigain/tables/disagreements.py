"""The images on which runs differ, for the page of `bigain compare`.

Classified images differ if the runs do not predict the same class for them.  They are grouped by
which runs are right; in each group those come first whose margins differ most between the runs.
Generated images differ in their share of the Frechet distance, so all do; the most different ones
are taken.  At most `MOST` images are shown; each group says how many it has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import pandas as pd

from bigain.runs.pairing import FinishedRun

__all__ = ["MOST", "Agreement", "Group", "agreement", "common_images", "groups"]

MOST = 96
"""Images on a page."""
_MOST_GROUPS = 8
_MOST_GENERATED = 24


@dataclass(frozen=True)
class Group:
    """Images that differ in one way.

    Attributes:
        title: Which images these are.
        count: How many there are.
        image_ids: Those to show.

    """

    title: str
    count: int
    image_ids: tuple[int, ...]


@dataclass(frozen=True)
class Agreement:
    """How often a run and the reference predict alike, over the images of both.

    Attributes:
        both: Both are right.
        run: Only the run is right.
        reference: Only the reference is right.
        neither: Both are wrong.
        other: Images with different predictions.

    """

    both: int
    run: int
    reference: int
    neither: int
    other: int


def common_images(runs: Sequence[FinishedRun]) -> list[pd.DataFrame]:
    """The records of the images that all runs have, by image id, in the order of the last run."""
    frames = [run.samples.set_index("image_id") for run in runs]
    common = frames[-1].index
    for frame in frames[:-1]:
        common = common[common.isin(frame.index)]
    return [frame.loc[common] for frame in frames]


def agreement(run: FinishedRun, reference: FinishedRun) -> Agreement | None:
    """The counts for two runs; None if their records have no predictions."""
    left, right = common_images([run, reference])
    if not all("prediction" in frame and "correct" in frame for frame in (left, right)):
        return None
    a, b = left["correct"].astype(bool), right["correct"].astype(bool)
    other = _differ([left, right])
    counts = ((a & b), (a & ~b), (~a & b), (~a & ~b), other)
    return Agreement(*(int(each.sum()) for each in counts))


def groups(runs: Sequence[FinishedRun], names: Sequence[str]) -> list[Group]:
    """The images that differ, in groups; none if no image is in all runs.

    Args:
        runs: The runs.
        names: What the titles call them.

    """
    frames = common_images(runs)
    if frames[0].empty:
        return []
    if runs[0].is_generation:
        return [_most_different(frames)]
    differ = _differ(frames)
    right = pd.DataFrame([frame["correct"][differ] for frame in frames]).T
    spread = _spread(frames, "margin_mean")[differ].fillna(-1.0)
    patterns: dict[tuple[bool, ...], list[int]] = {}
    for image_id in spread.sort_values(ascending=False, kind="stable").index:
        pattern = tuple(bool(each) for each in right.loc[image_id])
        patterns.setdefault(pattern, []).append(int(image_id))
    return _shown(patterns, names)


def _shown(patterns: Mapping[tuple[bool, ...], Sequence[int]], names: Sequence[str]) -> list[Group]:
    """Groups in which some are right come first, larger ones first; the last one has the rest."""
    ordered = sorted(patterns, key=lambda each: (len(set(each)) == 1, -len(patterns[each])))
    kept, rest = ordered[:_MOST_GROUPS], ordered[_MOST_GROUPS:]
    each = MOST // max(len(kept) + bool(rest), 1)
    found = [(_title(pattern, names), patterns[pattern]) for pattern in kept]
    if rest:
        others = [image_id for pattern in rest for image_id in patterns[pattern]]
        found.append((f"{len(rest)} further combinations of right and wrong runs", others))
    return [Group(title, len(ids), tuple(ids[:each])) for title, ids in found]


def _title(pattern: tuple[bool, ...], names: Sequence[str]) -> str:
    if len(set(pattern)) == 1:
        all_are = "Right" if pattern[0] else "Wrong"
        return f"{all_are} in all runs, with different predictions"
    by_name = sorted(zip(pattern, names, strict=True), key=lambda pair: (not pair[0], pair[1]))
    parts = {right: [name for _, name in of] for right, of in groupby(by_name, lambda p: p[0])}
    return f"Right in {', '.join(parts[True])}; wrong in {', '.join(parts[False])}"


def _most_different(frames: Sequence[pd.DataFrame]) -> Group:
    spread = _spread(frames, "frechet_value").sort_values(ascending=False, kind="stable")
    ids = tuple(int(image_id) for image_id in spread.index[:_MOST_GENERATED])
    return Group("The shares in the distance that differ most", len(spread), ids)


def _differ(frames: Sequence[pd.DataFrame]) -> "pd.Series[bool]":
    """Whether an image has two predictions; one that could not be read has one of its own."""
    first, *others = (frame["prediction"].fillna(-1) for frame in frames)
    differ = pd.Series(data=False, index=first.index)
    for each in others:
        differ |= each != first
    return differ


def _spread(frames: Sequence[pd.DataFrame], column: str) -> "pd.Series[float]":
    values = pd.DataFrame([frame[column].astype(float) for frame in frames])
    return values.max() - values.min()
