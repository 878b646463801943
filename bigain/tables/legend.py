"""How to read the tables: the only place of every sentence that belongs to more than one table.

`results/<profile>/tables/README.md` and the report print all of it.  An HTML or LaTeX file of a
single table prints `MARKS` and the explanations of its own quantities.
"""

from collections.abc import Iterator

from bigain.tables.quantities import QUANTITIES

__all__ = ["MARKS", "Section", "legend"]

Section = tuple[str, tuple[str, ...]]
"""A heading and its entries."""

MARKS = (
    "**Bold**: the best of its column (in a table that compares columns: of its row). Either a "
    "paired test against the second best supports it (p < 0.05), or the numbers are exact counts.",
    "*Italic*: the best by value; no test supports it.",
    "__Underlined__: the second best. Ties share a mark. The baseline is not ranked. A quantity "
    "whose rows cannot be compared has no marks.",
    "An em dash (—) means that no finished run exists. The commands that fill the gaps are listed "
    "at the end of the table. Rows without any run share one line.",
    "↑ higher is better, ↓ lower is better.",
)
"""What the marks mean."""

_LINES = (
    "A measured cell holds the value and its 95 % interval. The number of images or repeats (n) "
    "stands above the numbers, or in each cell where it varies.",
    "The **baseline** is the same model without any operator.",
    "*minus the baseline*: the paired difference between the row and the baseline.",
    "*paper*: what the paper prints in the same place.",
    "*measured minus paper*: only where both numbers come from the same model and the same data.",
    "*A minus B*: the paired difference between two rows on the same images, timesteps and noise, "
    "or from the same first noise. The paper's difference stands below it.",
    "[a], [b], ...: a doubt about a value of the paper; the notes of the table explain it.",
)

_VERDICTS = (
    "Each table first says which of the paper's orderings it confirms. An ordering is a pair of "
    "rows, or of columns, of which the paper prints one as better.",
    "*supported*: the method that the paper puts ahead is ahead here too, with p < 0.05. "
    "*contradicted*: it is behind, with p < 0.05. *open*: neither.",
    "A verdict is about the order alone, not about the size of the two differences. It is not "
    "corrected for the number of comparisons.",
    "The tests are paired: the exact McNemar test for accuracy, a bootstrap over images for mAP, "
    "t tests over images for the noise error and over samples for the Frechet distance.",
    "The paper prints no uncertainty. Unpaired, its own accuracies have standard errors of 0.6 to "
    "1.1 points.",
    "The noise error is not a quantity of the paper. Whether it has the order of the paper's "
    "accuracies is a separate question, and the answer says nothing about accuracy itself.",
)

_PAPER = {
    "mini": (
        "The lines marked *paper* come from another backbone and other datasets: compare how the "
        "numbers change along a line, not the numbers themselves. Only FLOPs are counted on the "
        "paper's own model, which needs no weights.",
        "On the mini U-Net accuracy hardly moves, because errors that all classes share cancel in "
        "the decision. The rise of the noise error tells the operators apart there.",
        "On the mini DiT accuracy does move, and which operator comes out ahead depends on the "
        "timesteps that the trial list averages over.",
    ),
    "paper": (
        "The lines marked *paper* come from the same backbone and the same dataset. Which images "
        "the paper took, and with which seeds, is not published.",
    ),
}

_PROTOCOL = (
    "Classification: each class is tried on the timesteps and noises of the *trial list*, stage by "
    "stage; after each stage as many classes stay as the *keep list* says. The class with the "
    "smallest error is the prediction.",
    "ToMe draws its destinations from (seed, site, timestep): they are the same for all classes "
    "and images, so its comparison with L-GTM is paired.",
    "Where the factor of a downsampling does not divide the grid (3 on 16x16 tokens), the nearest "
    "and the average sample cover different parts of it, as in the paper's released code.",
)


def legend(profile: str) -> tuple[Section, ...]:
    """All that a reader of a profile's tables needs to know."""
    return (
        ("Marks", MARKS),
        ("Numbers", _LINES),
        ("Verdicts", _VERDICTS),
        ("The paper's numbers and these", _PAPER[profile]),
        ("Protocol", _PROTOCOL),
        ("Quantities", tuple(_quantities())),
    )


def _quantities() -> Iterator[str]:
    return (f"**{each.head}**: {each.explanation}" for each in QUANTITIES.values())
