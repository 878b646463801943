"""One plan for all classes of an image, in a model: who says which rows these are, and its cost."""

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import bigain
from bigain.operators import (
    IEKVD,
    LGTM,
    ByStage,
    CachedAssignment,
    Compression,
    KVSelect,
    MergeReduction,
    Operator,
    RandomKey,
    SharedPlan,
    SiTo,
    ToMe,
)
from bigain.operators.recording import Call, Recorder
from bigain.patching.selection import SiteSelection
from bigain.patching.sharing import Sharing, grouped_rows

GROUPS = torch.tensor([0, 0, 0, 1, 1, 2, 2])
ROWS = ((0, 1, 2), (3, 4), (5, 6))
TIMES = torch.tensor([25, 475, 475])
OPERATORS: list[Operator] = [LGTM(0.6), ToMe(0.6), SiTo(0.6), CachedAssignment(0.6), KVSelect(0.6)]


def predict(model: nn.Module, rows: Tensor | None = None) -> Tensor:
    """Noise of the given rows, each with a class of its own."""
    generator = torch.Generator().manual_seed(1)
    chosen = torch.arange(7) if rows is None else rows
    is_unet = hasattr(model, "down_blocks")
    size = (3, 2, 8, 8) if is_unet else (3, 1, 16, 16)
    latents = torch.randn(size, generator=generator)[GROUPS][chosen]
    context = torch.randn(7, 5, 6, generator=generator)[chosen]
    condition = {"encoder_hidden_states": context} if is_unet else {"class_labels": chosen}
    with torch.no_grad():
        predicted: Tensor = model(latents, timestep=TIMES[GROUPS][chosen], **condition).sample
    return predicted


def recorded(model: nn.Module, operator: Compression) -> tuple[Tensor, list[Call]]:
    calls: list[Call] = []
    with bigain.apply(model, Recorder(operator, calls)):
        return predict(model), calls


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_a_model_has_the_plan_of_the_mean_of_each_image(
    tiny_model: nn.Module, operator: Operator
) -> None:
    found, calls = recorded(tiny_model, SharedPlan(operator))
    each, _ = recorded(tiny_model, operator)
    assert not torch.allclose(found, each, atol=1e-5), "the setting does something"
    side = int(calls[0][1].shape[1] ** 0.5)
    for site, metric, plan in calls:
        means = torch.stack([metric[list(rows)].mean(dim=0) for rows in ROWS])
        expected = operator.plan(means, (side, side), RandomKey(0, site, TIMES))
        x = torch.randn(3, side * side, 4)
        torch.testing.assert_close(plan.reduce(x[GROUPS]), expected.reduce(x)[GROUPS])
        assert isinstance(plan, MergeReduction) or torch.equal(plan.kept, expected.kept[GROUPS])  # type: ignore[attr-defined]


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
@pytest.mark.parametrize("order", [[5, 6, 0, 1, 2, 3, 4], [1, 4, 0, 6, 2, 3, 5]], ids=str)
def test_neither_order_nor_the_other_images_matter(
    tiny_model: nn.Module, operator: Operator, order: list[int]
) -> None:
    rows = torch.tensor(order)
    with bigain.apply(tiny_model, SharedPlan(operator)):
        whole, shuffled = predict(tiny_model), predict(tiny_model, rows)
        alone = torch.cat([predict(tiny_model, torch.tensor(each)) for each in ROWS])
    torch.testing.assert_close(alone, whole, rtol=0, atol=1e-5)
    torch.testing.assert_close(shuffled, whole[rows], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("operator", "scope"),
    [
        *((operator, "self") for operator in OPERATORS),
        *((operator, "self+cross+mlp") for operator in (LGTM(0.6), CachedAssignment(0.6))),
        (ByStage(LGTM(0.6), IEKVD(2)), "self"),
    ],
    ids=str,
)
def test_a_shared_forward_predicts_the_same(
    tiny_unet: nn.Module, operator: Compression, scope: str
) -> None:
    """Where a site computes one row of each image, that row's plan is the mean's."""
    bigain.apply(tiny_unet, SharedPlan(operator), sites=SiteSelection(scope=scope))
    expected = predict(tiny_unet)
    with Sharing(tiny_unet) as sharing:
        with sharing.rows(GROUPS, TIMES[GROUPS]):
            found = predict(tiny_unet)
        padded = torch.cat([GROUPS, GROUPS[-1:]])
        with sharing.rows(padded, TIMES[padded], 5):
            more = predict(tiny_unet, torch.tensor([*range(7), 6]))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(more[:5], expected[:5], rtol=0, atol=1e-6)


def test_who_knows_the_groups_says_so_and_the_values_are_not_compared(
    tiny_model: nn.Module, monkeypatch: pytest.MonkeyPatch
) -> None:
    bigain.apply(tiny_model, SharedPlan(LGTM(0.6)))
    expected = predict(tiny_model)

    def refuse(sample: Tensor, timesteps: Tensor) -> None:
        raise AssertionError

    monkeypatch.setattr("bigain.patching.forward.equal_rows", refuse)
    with grouped_rows(tiny_model, ROWS):
        assert torch.equal(predict(tiny_model), expected)
    with Sharing(tiny_model) as sharing, sharing.rows(GROUPS, TIMES[GROUPS]):
        torch.testing.assert_close(predict(tiny_model), expected, rtol=0, atol=1e-6)
    with pytest.raises(AssertionError):
        predict(tiny_model)


def test_both_halves_of_guidance_have_one_plan(tiny_unet: nn.Module) -> None:
    calls: list[Call] = []
    latents, text = torch.randn(3, 2, 8, 8), torch.randn(6, 5, 6)
    with bigain.apply(tiny_unet, Recorder(SharedPlan(LGTM(0.6)), calls)), torch.no_grad():
        tiny_unet(torch.cat([latents, latents]), 500, encoder_hidden_states=text)
    for _, metric, plan in calls:
        assert isinstance(plan, MergeReduction)
        assert torch.equal(plan.assignment[:3], plan.assignment[3:])
        own = LGTM(0.6).plan((metric[:3] + metric[3:]) / 2, (8, 8))
        assert isinstance(own, MergeReduction)
        assert torch.equal(plan.assignment[:3], own.assignment)


def test_the_rows_of_a_group_pay_for_one_plan(tiny_model: nn.Module) -> None:
    """Counted: seven rows with three plans at each site, in place of seven."""

    def counted(operator: Compression) -> int:
        with bigain.apply(tiny_model, operator), FlopCounterMode(display=False) as counter:
            predict(tiny_model)
        return int(counter.get_total_flops())

    with bigain.apply(tiny_model, LGTM(0.6)) as report:
        sites = [use for use in report.sites if use.grid is not None and use.plans]
        plans = [
            use.operator.plan_flops(use.grid, 8 if _is_unet(tiny_model) else 12)
            for use in sites
            if use.grid
        ]
    assert len(plans) == len(report.sites)
    assert counted(LGTM(0.6)) - counted(SharedPlan(LGTM(0.6))) == (7 - 3) * sum(plans)


def _is_unet(model: nn.Module) -> bool:
    return hasattr(model, "down_blocks")
