"""Which images the margins of the claims are of; `test_claim_numbers` computes them again."""

from tests.end_to_end.recomputed import MINI, read_csv
from tests.end_to_end.test_claim_numbers import SPEC, named, words


def test_margins_are_of_1000_images_or_of_the_images_of_the_accuracy() -> None:
    """The accuracy of the same two runs, or none: then the margin is of 1,000 images."""
    tested = [row for row in read_csv(MINI / "claims.csv") if row["p"]]
    others = {row["runs"]: row for row in tested if row["metric"] in ("acc1", "map_image")}
    margins = [row for row in tested if row["metric"] == "best_margin"]
    for row in margins:
        same = others.get(row["runs"])
        assert int(row["n"]) == (int(same["n"]) if same else 1000), row
    assert {int(row["n"]) for row in margins} == {400, 1000}


def test_a_difference_has_one_margin() -> None:
    """No claim takes the margin of 400 images where another takes that of 1,000."""
    protocols: dict[object, set[str]] = {}
    for claim in SPEC["claims"]:
        for test in claim.get("tests", ()):
            protocol = test.get("protocol", test["metric"])
            if test["metric"] == "best_margin" and protocol != "map_image":
                names = [test["first"], test["second"], *test.get("from", ())]
                for backbone in claim.get("backbones", ("mini_unet", "mini_dit")):
                    runs = [named(f"backbone={backbone}", *words(name)) for name in names]
                    protocols.setdefault(frozenset(runs), set()).add(protocol)
    assert all(len(own) == 1 for own in protocols.values())
    assert {each for own in protocols.values() for each in own} == {"acc1", "best_margin"}
