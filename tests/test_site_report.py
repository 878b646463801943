import pytest
from torch import nn

from bigain.errors import UserError
from bigain.operators import LGTM, Operator, ToDo, ToMe
from bigain.site_report import SiteReport, SiteUse


def use(name: str = "blocks.0.attn1") -> SiteUse:
    return SiteUse(name, "encoder", 0, 0)


def report(operator: Operator, *sites: SiteUse) -> SiteReport:
    return SiteReport("Model", operator, sites)


def test_before_the_first_forward_a_use_holds_what_is_expected() -> None:
    site = use()
    assert str(site) == "blocks.0.attn1  ?  ? -> ?  calls=0"
    site.expect((8, 8), ToMe(0.5))
    assert (site.grid, site.before, site.after, site.calls) == ((8, 8), 64, 32, 0)


def test_what_does_not_fit_is_left_open_until_the_call() -> None:
    site = use()
    site.expect((2, 2), ToDo(4))
    assert (site.before, site.after) == (4, None)
    assert str(site).endswith("2x2  4 -> ?  calls=0")


def test_calls_replace_what_was_expected() -> None:
    site = use()
    site.expect((8, 8), ToMe(0.5))
    site.count((4, 6), 12)
    site.count((4, 6), 12)
    assert (site.grid, site.before, site.after, site.calls) == ((4, 6), 24, 12, 2)
    assert str(site) == "blocks.0.attn1  4x6  24 -> 12  calls=2"


def test_calls_and_silent_sites_by_name() -> None:
    first, second = use("a"), use("b")
    both = report(ToMe(0.5), first, second)
    assert not both.silent
    both.forwards = 1
    first.count((4, 4), 8)
    assert both.calls == {"a": 1, "b": 0}
    assert both.silent == ("b",)
    both.verify()


def test_an_operator_that_no_forward_reached_is_an_error() -> None:
    unused = report(ToMe(0.5), use())
    unused.verify()
    unused.forwards = 3
    with pytest.raises(UserError, match=r"^operator=ToMe.* 3 forwards of Model reached none"):
        unused.verify()


def test_leaving_the_context_verifies() -> None:
    unused = report(ToMe(0.5), use())
    with pytest.raises(UserError, match="reached none"), unused:
        unused.forwards = 1
    assert not unused.active


def test_leaving_by_an_exception_does_not_hide_it() -> None:
    unused = report(ToMe(0.5), use())

    def fail() -> None:
        with unused:
            unused.forwards = 1
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not unused.active


def test_removal_takes_the_hooks_off_once() -> None:
    module = nn.Identity()
    applied = report(ToMe(0.5), use())
    applied.keep([module.register_forward_hook(lambda *_: None)])
    assert len(module._forward_hooks) == 1
    applied.remove()
    applied.remove()
    assert len(module._forward_hooks) == 0
    assert not applied.active


def test_repr_and_str_are_readable() -> None:
    applied = report(LGTM(0.5), use())
    applied.sites[0].expect((8, 8), applied.operator)
    assert repr(applied) == f"SiteReport({applied.operator!r} on Model, 1 sites)"
    assert str(applied).splitlines() == [
        f"{applied.operator!r} on Model: applied, 1 sites, 0 forwards; tokens before -> after:",
        "  blocks.0.attn1  8x8  64 -> 32  calls=0",
    ]
    applied.remove()
    assert repr(applied).endswith(", removed)")
    assert "keys/values before -> after" in str(report(ToDo(2), use()))
