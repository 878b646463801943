from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import bigain
from bigain.errors import UserError
from bigain.operators import (
    IEKVD,
    LGTM,
    ByStage,
    CachedAssignment,
    Operator,
    SharedPlan,
    SiTo,
    ToDo,
    ToMA,
    ToMe,
)
from bigain.operators.recording import Recorder
from bigain.patching.cost import AttentionCost
from bigain.patching.report import Seen, SiteReport, SiteUse
from bigain.patching.sites import Site

WIDTH = 4


class AttnProcessor2_0:  # noqa: N801 - the name of diffusers' class
    """Soft-max attention, by its name and module."""


AttnProcessor2_0.__module__ = "diffusers.models.attention_processor"


class Attention(nn.Module):
    """An attention, as far as the report looks."""

    def __init__(self, context: int = WIDTH) -> None:
        super().__init__()
        self.to_q = nn.Linear(WIDTH, WIDTH)
        self.to_k = nn.Linear(context, WIDTH)
        self.to_out = nn.ModuleList([nn.Linear(WIDTH, WIDTH)])
        self.processor: object = AttnProcessor2_0()


class Block(nn.Module):
    """A transformer block, as far as the report looks."""

    def __init__(self) -> None:
        super().__init__()
        self.attn1 = Attention()


def use(
    operator: Operator,
    name: str = "blocks.0.attn1",
    part: str = "self",
    module: nn.Module | None = None,
    *,
    plans: bool = True,
) -> SiteUse:
    site = Site("blocks.0", "encoder", 0, 0, Block(), 1, 0, "block")
    return SiteUse(name, part, site, operator, module or Attention(), plans)


def report(operator: Operator, *sites: SiteUse) -> SiteReport:
    return SiteReport("Model", operator, sites)


def forward(
    site: SiteUse, grid: tuple[int, int], after: int, context: int | None = None
) -> SiteUse:
    site.count(Seen(grid, after, context, site.plans))
    return site


def attention(queries: int, keys: int) -> int:
    return 4 * queries * keys * WIDTH + 4 * (queries + keys) * WIDTH**2


def test_before_the_first_forward_a_use_holds_what_is_expected() -> None:
    site = use(ToMe(0.5))
    assert str(site) == "blocks.0.attn1  ?  ? -> ?  saves ? G  calls=0"
    assert site.flops_saved is None
    site.expect((8, 8))
    assert (site.grid, site.before, site.after, site.calls) == ((8, 8), 64, 32, 0)
    assert site.flops_saved is not None
    too_small = use(ToDo(4))
    too_small.expect((2, 2))
    assert (too_small.before, too_small.after, too_small.flops_saved) == (4, None, None)


def test_calls_replace_what_was_expected() -> None:
    site = use(ToMe(0.5))
    site.expect((8, 8))
    forward(site, (4, 6), 12)
    forward(site, (4, 6), 12)
    assert (site.grid, site.before, site.after, site.calls) == ((4, 6), 24, 12, 2)
    assert str(site).startswith("blocks.0.attn1  4x6  24 -> 12  saves ")
    assert str(site).endswith("calls=2")


def test_a_forward_that_did_not_come_here_is_not_counted() -> None:
    reached, other = use(ToMe(0.5), "a"), use(ToMe(0.5), "b")
    both = report(ToMe(0.5), reached, other)
    both.count({"a": Seen((4, 4), 8, None)})
    assert (both.forwards, both.calls) == (1, {"a": 1, "b": 0})
    assert other.grid is None
    assert reached.flops_saved is not None
    assert both.flops_saved == reached.flops_saved  # the other one saved nothing


def test_a_site_that_the_last_forward_did_not_reach_saves_nothing() -> None:
    site = use(ToMe(0.5))
    site.expect((8, 8))
    site.count(None)
    assert (site.before, site.after, site.calls, site.flops_saved) == (64, 64, 0, 0)
    forward(site, (8, 8), 32)
    assert site.flops_saved == attention(64, 64) - attention(32, 32) - 2 * 48 * 16 * WIDTH
    site.count(None)
    assert (site.calls, site.flops_saved) == (1, 0)


def test_an_attention_of_an_unknown_kind_saves_an_unknown_number() -> None:
    """Linear attention and others cost something else; the processor may change at any time."""
    site = forward(use(ToMe(0.5)), (8, 8), 32)
    assert site.flops_saved is not None
    vars(site.module)["processor"] = object()
    forward(site, (8, 8), 32)
    assert site.flops_saved is None
    assert report(ToMe(0.5), site).flops_saved is None
    vars(site.module)["processor"] = AttnProcessor2_0()
    assert site.flops_saved is None  # the last forward ran with the other one


def test_merging_saves_queries_and_keys_less_the_plan() -> None:
    site = forward(use(LGTM(0.5)), (8, 8), 32)
    plan = 2 * 48 * 16 * WIDTH + 18 * 64 * WIDTH
    assert site.flops_saved == attention(64, 64) - attention(32, 32) - plan


def test_a_key_reducer_saves_keys_only() -> None:
    site = forward(use(ToDo(2)), (8, 8), 16)
    assert site.flops_saved == attention(64, 64) - attention(64, 16)


def test_a_shared_plan_is_paid_for_once() -> None:
    first, second = (use(CachedAssignment(0.5), plans=plans) for plans in (True, False))
    forward(first, (8, 8), 32)
    forward(second, (8, 8), 32)
    assert second.flops_saved == attention(64, 64) - attention(32, 32)
    both = report(first.operator, first, second)
    assert first.flops_saved is not None
    assert both.flops_saved == first.flops_saved + second.flops_saved


class Applied(ToMe):
    """A merge that costs something at every module that it is applied to."""

    def apply_flops(self, grid: tuple[int, int], channels: int) -> int:
        return 7 * grid[0] * grid[1] * channels


@pytest.mark.parametrize("wrap", [None, SharedPlan, lambda merge: Recorder(merge, [])])
def test_applying_a_plan_is_paid_for_at_every_module(wrap: Any) -> None:
    operator = (wrap(Applied(0.5)) if wrap else Applied(0.5)).for_stage("encoder")
    planned, other = (use(operator, plans=plans) for plans in (True, False))
    mlp = use(operator, part="mlp", module=nn.Linear(10, 10), plans=False)
    saved = attention(64, 64) - attention(32, 32) - 7 * 64 * WIDTH
    assert forward(planned, (8, 8), 32).flops_saved == saved - 2 * 48 * 16 * WIDTH
    assert forward(other, (8, 8), 32).flops_saved == saved
    assert forward(mlp, (8, 8), 32).flops_saved == 2 * 32 * 100 - 7 * 64 * WIDTH


def test_cross_attention_saves_queries_once_the_text_is_seen() -> None:
    cost = AttentionCost(WIDTH, 6, WIDTH, WIDTH)
    site = use(ToMe(0.5), part="cross", module=Attention(6), plans=False)
    site.expect((8, 8))
    assert site.flops_saved is None
    assert report(ToMe(0.5), site).flops_saved is None
    forward(site, (8, 8), 32, 7)
    assert site.flops_saved == cost.flops(64, 7) - cost.flops(32, 7)


def test_an_mlp_saves_by_the_token() -> None:
    site = use(ToMe(0.5), part="mlp", module=nn.Linear(10, 10), plans=False)
    site.expect((8, 8))
    assert site.flops_saved == 2 * 32 * 100


def test_the_report_of_a_model_is_what_torch_counts_less(tiny_unet: Any) -> None:
    """Flops of the bare model minus those of the accelerated one, on the meta device."""
    model = tiny_unet.to("meta")
    inputs = (torch.empty(1, 2, 8, 8, device="meta"), torch.tensor(5))
    context = torch.empty(1, 3, 6, device="meta")

    def count() -> int:
        with FlopCounterMode(display=False) as counter:
            model(*inputs, encoder_hidden_states=context)
        return int(counter.get_total_flops())

    bare = count()
    sites = bigain.SiteSelection(scope="self+cross+mlp")
    toma = (ToMA(0.5, 3), ToMA(0.6, 4, one_map_per_stage=True))
    for operator in (LGTM(0.5), CachedAssignment(0.7), SiTo(0.6), *toma):
        with bigain.apply(model, operator, sites=sites) as done:
            assert bare - count() == done.flops_saved
    hybrid = ByStage(LGTM(0.5), IEKVD(2))
    with bigain.apply(model, hybrid) as done:
        assert done.flops_saved is not None  # of self-attention it is known in advance
        assert bare - count() == done.flops_saved


def test_calls_and_silent_sites_by_name() -> None:
    operator = ToMe(0.5)
    first, second = use(operator, "a"), use(operator, "b")
    both = report(operator, first, second)
    assert not both.silent
    both.forwards = 1
    forward(first, (4, 4), 8)
    assert both.calls == {"a": 1, "b": 0}
    assert both.silent == ("b",)
    both.verify()


def test_leaving_the_context_verifies() -> None:
    unused = report(ToMe(0.5), use(ToMe(0.5)))
    unused.verify()
    error = r"^operator=ToMe.* 3 forwards of Model reached none"
    with pytest.raises(UserError, match=error), unused:
        unused.forwards = 3
    assert not unused.active


def test_leaving_by_an_exception_does_not_hide_it() -> None:
    unused = report(ToMe(0.5), use(ToMe(0.5)))

    def fail() -> None:
        with unused:
            unused.forwards = 1
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not unused.active


def test_removal_takes_the_hooks_off_once_and_calls_actions_once() -> None:
    module, calls = nn.Identity(), []
    applied = report(ToMe(0.5), use(ToMe(0.5)))
    applied.keep([module.register_forward_hook(lambda *_: None)])
    applied.on_removal(lambda: calls.append(len(module._forward_hooks)))
    assert len(module._forward_hooks) == 1
    applied.remove()
    applied.remove()
    assert calls == [0]
    assert not applied.active


def test_repr_and_str_are_readable() -> None:
    applied = report(LGTM(0.5), use(LGTM(0.5)))
    applied.sites[0].expect((8, 8))
    assert repr(applied) == f"SiteReport({applied.operator!r} on Model, 1 sites)"
    saved = (attention(64, 64) - attention(32, 32) - 2 * 48 * 16 * WIDTH - 18 * 64 * WIDTH) / 1e9
    assert str(applied).splitlines() == [
        f"{applied.operator!r} on Model: applied, 1 sites, 0 forwards, saves {saved:.4g} GFLOPs "
        "per sample and forward; tokens before -> after:",
        f"  blocks.0.attn1  8x8  64 -> 32  saves {saved:.3g} G  calls=0",
    ]
    applied.remove()
    assert repr(applied).endswith(", removed)")
    assert " removed, 1 sites, " in str(applied)
    merge, keys = use(ToMe(0.5)), use(ToDo(2))
    assert "; keys/values before -> after" in str(report(ToDo(2), keys))
    assert "; tokens, keys/values before -> after" in str(report(ToMe(0.5), merge, keys))
    assert " saves ? GFLOPs" in str(report(ToDo(2), keys))
