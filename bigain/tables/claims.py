"""The claims of the paper as data: `configs/claims.yaml`.

A claim is tested by pairs of runs of the mini profile (`PairTest`), by numbers that are counted
(`CountTest`), by shares of frequency bands (`BandTest`), or not at all, with the reason.
`bigain.tables.claim_results` measures them, `bigain.tables.claim_page` writes them down.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Self

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, ValidationError, model_validator
from yaml import YAMLError  # type: ignore[import-untyped]

from bigain.errors import UserError
from bigain.locations import CONFIGS
from bigain.tables.spec import Part

__all__ = ["BandTest", "Claim", "ClaimRun", "ClaimsSpec", "CountTest", "Expected", "PairTest"]
__all__ += ["GROWTH", "Rival", "load_claims"]

Expected = Literal["above", "below", "level", "not_worse"]
"""What the paper says of a difference; `not_worse` is level or better."""

GROWTH = ("acc1", "best_margin", "frechet_mini")
"""Metrics with a value of each image, which a test of growth needs."""

Backbone = Literal["mini_unet", "mini_dit"]


class ClaimRun(Part):
    """A run: its settings beside backbone and protocol, and method/setting of the paper's cells."""

    run: str
    cell: str = ""


class Rival(Part):
    """One row of the README's table: what to call it, and the name of its run."""

    label: str
    run: str


class PairTest(Part):
    """The difference of two runs, first minus second.

    Attributes:
        label: What is compared, in a few words.
        metric: Id of a quantity, a key of `ClaimsSpec.protocols`.
        expected: What the paper says.
        protocol: Key of `ClaimsSpec.protocols` whose runs are compared; by default `metric`.  A
            margin of `acc1` is that of the first stage of the runs whose accuracy is tested.
        first: Name of a run.
        second: Name of a run.
        start: Names of a second pair; the test is then whether the difference is another one.
        set: Settings of all its runs.
        paper: Backbone -> table/backbone/dataset of the paper's cells.
        cells: Run -> method/setting of its cell, where this table names it in another way.

    """

    label: str
    metric: str
    expected: Expected
    protocol: str = ""
    first: str
    second: str
    start: tuple[str, str] | None = Field(None, alias="from")
    set: tuple[str, ...] = ()
    paper: Mapping[Backbone, str] = Field(default_factory=dict)
    cells: Mapping[str, str] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _grows_in_a_metric_of_images(self) -> Self:
        if self.start is not None and self.metric not in GROWTH:
            raise ValueError(f"from: metric={self.metric}: allowed: {', '.join(GROWTH)}")
        _check("cells", list(self.cells), dict.fromkeys(self.runs))
        return self

    @property
    def runs(self) -> tuple[str, ...]:
        """The names of its runs: two, or four."""
        return (self.first, self.second, *(self.start or ()))

    @property
    def settings_of(self) -> str:
        """The key of the protocol of its runs."""
        return self.protocol or self.metric


class CountTest(Part):
    """A number that is counted, beside the paper's: a cell or, where that is lost, its text.

    With `minus`, words of a second run, and `minus_paper`, its cell: the difference of two numbers.
    The two counts are equal if they differ by at most `within`.
    """

    label: str
    run: str
    metric: str
    within: float = Field(gt=0)
    paper: str = ""
    size: float | None = None
    minus: str = ""
    minus_paper: str = ""

    @model_validator(mode="after")
    def _has_one_size(self) -> Self:
        if bool(self.paper) == (self.size is not None):
            raise ValueError("a count has a cell of the paper or a size")
        if bool(self.minus) != bool(self.minus_paper) or (self.minus and not self.paper):
            raise ValueError("minus needs minus_paper and paper")
        return self


class BandTest(Part):
    """A quantity of a frequency band of the baseline (`bigain analysis bands`).

    Either its interval lies `within` that distance of 0, or it lies `above` that of another band.
    """

    label: str
    quantity: str
    band: str
    within: float | None = None
    above: str = ""

    @model_validator(mode="after")
    def _is_one_kind(self) -> Self:
        if (self.within is None) == (not self.above):
            raise ValueError("a band is within a distance of 0 or above another band")
        return self


class Claim(Part):
    """One claim.

    Attributes:
        id: Its name in claims.csv.
        text: What the paper says.
        place: Where.
        table: The table that shows the same runs.
        page: What shows them, or their margin beside the table; relative to docs/.
        question: Whether it is a question of ours, which the paper does not answer.
        backbones: On which it is tested.
        note: What a reader must know.
        untested: Why it cannot be tested here, and what would do it.
        tests: Of pairs of runs.
        counts: Of counted numbers.
        bands: Of frequency bands.

    """

    id: str
    text: str
    place: str
    table: int | None = Field(None, ge=1, le=19)
    page: str = ""
    backbones: tuple[Backbone, ...] = ("mini_unet", "mini_dit")
    note: str = ""
    untested: str = ""
    question: bool = False
    tests: tuple[PairTest, ...] = ()
    counts: tuple[CountTest, ...] = ()
    bands: tuple[BandTest, ...] = ()

    @model_validator(mode="after")
    def _is_tested_or_not(self) -> Self:
        if bool(self.untested) == bool(self.tests or self.counts or self.bands):
            raise ValueError(f"{self.id}: a claim has tests, or says why it is untested")
        if self.counts and (self.tests or self.bands):
            raise ValueError(f"{self.id}: counts stand in a claim of their own")
        return self


class ClaimsSpec(Part):
    """All claims.

    Attributes:
        protocols: Metric -> settings of its runs.
        runs: Name -> run.
        rivals: Rows of the README's table, the baseline first.
        claims: In the order of the paper.

    """

    protocols: dict[str, tuple[str, ...]]
    runs: dict[str, ClaimRun]
    rivals: tuple[Rival, ...]
    claims: tuple[Claim, ...]

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        tests = [test for claim in self.claims for test in claim.tests]
        names = [each.run for each in self.rivals] + [run for test in tests for run in test.runs]
        _check("run", names, self.runs)
        _check("metric", (test.metric for test in tests), self.protocols)
        _check("protocol", (test.settings_of for test in tests), self.protocols)
        ids = [claim.id for claim in self.claims]
        if len(set(ids)) < len(ids):
            raise ValueError(f"a claim twice: {ids}")
        return self

    def words(
        self, backbone: str, protocol: str, name: str, more: tuple[str, ...]
    ) -> tuple[str, ...]:
        """The overrides of a run, as a user types them."""
        return (
            f"backbone={backbone}",
            *self.protocols[protocol],
            *more,
            *self.runs[name].run.split(),
        )


def _check(kind: str, names: "Iterator[str] | list[str]", known: Mapping[str, object]) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"{kind}={name}: allowed: {', '.join(known)}")


def load_claims(path: Path = CONFIGS / "claims.yaml") -> ClaimsSpec:
    """The claims; UserError if the file is no YAML or says something that is not allowed."""
    try:
        found: Any = OmegaConf.to_container(OmegaConf.load(path))
        return ClaimsSpec.model_validate(found)
    except (YAMLError, OmegaConfBaseException, ValidationError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
