"""Draws per sample: one map for all classes of an image and noise, whatever the batch."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import bigain
import bigain.operators.random_key
import bigain.patching.forward
from bigain.operators import MergeReduction, RandomKey, SelectReduction, SharedPlan, SiTo, ToMe
from bigain.operators.random_key import fingerprints
from bigain.operators.recording import Recording
from bigain.patching.sharing import Sharing

GROUPS = torch.tensor([0, 0, 0, 1, 1, 2, 2])
"""Rows with the same latents: an image has several classes."""
TIMES = torch.tensor([25, 475, 475])
NOISE_ALONE = SiTo(0.75, sim_beta=0.0, noise_alpha=1.0, draws="per_sample")
OPERATORS = [ToMe(0.6, draws="per_sample"), NOISE_ALONE]


def maps(spy: Recording, sites: int) -> list[Tensor]:
    """What was drawn at each site, (B, D): the destinations of ToMe, those that SiTo keeps."""
    plans = [plan for _, _, plan in spy.calls]
    drawn = [each.dst if isinstance(each, MergeReduction) else each for each in plans]
    found = [each.kept if isinstance(each, SelectReduction) else each for each in drawn]
    rows = [each for each in found if isinstance(each, Tensor)]
    return [torch.cat(rows[i::sites]) for i in range(sites)]


def predict(model: nn.Module, rows: Tensor, times: Tensor = TIMES) -> Tensor:
    """Noise of the given rows, each with a class of its own."""
    generator = torch.Generator().manual_seed(1)
    is_unet = hasattr(model, "down_blocks")
    size = (3, 2, 8, 8) if is_unet else (3, 1, 16, 16)
    latents = torch.randn(size, generator=generator)[GROUPS][rows]
    context = torch.randn(len(GROUPS), 5, 6, generator=generator)[rows]
    condition = {"encoder_hidden_states": context} if is_unet else {"class_labels": rows}
    with torch.no_grad():
        predicted: Tensor = model(latents, timestep=times[GROUPS][rows], **condition).sample
    return predicted


def drawn(model: nn.Module, operator: ToMe | SiTo, parts: list[list[int]]) -> list[Tensor]:
    """The maps of forwards with these rows, at each site."""
    spy = Recording(operator)
    with bigain.apply(model, spy) as report:
        for rows in parts:
            predict(model, torch.tensor(rows))
    return maps(spy, len(report.sites))


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_classes_of_an_image_share_a_map_and_images_do_not(
    tiny_model: nn.Module, operator: ToMe | SiTo
) -> None:
    sites = drawn(tiny_model, operator, [[*range(7)]])
    for site in sites:
        same = (site[:, None] == site).all(dim=-1)
        assert torch.equal(same, GROUPS[:, None] == GROUPS)
    assert len(sites) == 1 or not torch.equal(sites[0], sites[1])


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
@pytest.mark.parametrize(
    "parts", [[[i] for i in range(7)], [[6, 0, 5], [1, 4, 2, 3]], [[*range(7)][::-1]]], ids=str
)
def test_a_map_does_not_depend_on_the_batch_or_the_order(
    tiny_model: nn.Module, operator: ToMe | SiTo, parts: list[list[int]]
) -> None:
    whole = drawn(tiny_model, operator, [[*range(7)]])
    order = [row for rows in parts for row in rows]
    for site, expected in zip(drawn(tiny_model, operator, parts), whole, strict=True):
        assert torch.equal(site, expected[order])


def test_shared_modules_draw_as_the_whole_batch(tiny_unet: nn.Module) -> None:
    spy = Recording(ToMe(0.6, draws="per_sample"))
    rows = torch.arange(7)
    with bigain.apply(tiny_unet, spy) as report, Sharing(tiny_unet) as sharing:
        expected = predict(tiny_unet, rows)
        with sharing.rows(GROUPS, TIMES[GROUPS]):
            found = predict(tiny_unet, rows)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    plans = [plan.dst for _, _, plan in spy.calls if isinstance(plan, MergeReduction)]
    whole, shared = plans[: len(report.sites)], plans[len(report.sites) :]
    assert [len(dst) for dst in shared] == [3, *[7] * (len(shared) - 1)]
    assert torch.equal(shared[0][GROUPS], whole[0])
    assert all(torch.equal(a, b) for a, b in zip(shared[1:], whole[1:], strict=True))


@pytest.mark.parametrize("draws", ["per_sample", "paired"])
def test_the_halves_of_guidance_share_a_map(tiny_unet: nn.Module, draws: str) -> None:
    """Both halves have the latents of their sample; only with paired draws samples agree, too."""
    spy = Recording(ToMe(0.6, draws=draws))
    latents, text = torch.randn(3, 2, 8, 8), torch.randn(6, 5, 6)
    with bigain.apply(tiny_unet, spy), torch.no_grad():
        tiny_unet(torch.cat([latents, latents]), 500, encoder_hidden_states=text)
    for _, _, plan in spy.calls:
        assert isinstance(plan, MergeReduction)
        assert torch.equal(plan.dst[:3], plan.dst[3:])
        assert torch.equal(plan.dst[0], plan.dst[1]) == (draws == "paired")


@pytest.mark.parametrize("plan", ["each_class", "shared"])
def test_rows_are_hashed_once_in_a_forward(
    tiny_unet: nn.Module, monkeypatch: pytest.MonkeyPatch, plan: str
) -> None:
    """Also for sites that compute some rows, and for groups; the draws are as if each hashed."""
    calls: list[int] = []

    def counted(sample: Tensor, timesteps: Tensor | None) -> Tensor:
        calls.append(len(sample))
        return fingerprints(sample, timesteps)

    for module in (bigain.patching.forward, bigain.operators.random_key):
        monkeypatch.setattr(module, "fingerprints", counted)
    alone = RandomKey.per_sample

    def per_sample(key: RandomKey, like: Tensor) -> RandomKey:
        return alone(replace(key, known=None), like)

    found = []
    for is_shared in (True, False):
        if not is_shared:
            monkeypatch.setattr(RandomKey, "per_sample", per_sample)
        spy = Recording(ToMe(0.6, draws="per_sample"))
        calls.clear()
        acting = SharedPlan(spy) if plan == "shared" else spy
        with bigain.apply(tiny_unet, acting) as report, Sharing(tiny_unet) as sharing:
            for times in (TIMES, TIMES.flip(0)):
                with sharing.rows(GROUPS, times[GROUPS]):
                    predict(tiny_unet, torch.arange(7), times)
        assert len(report.sites) > 1
        assert len(calls) == (2 if is_shared else 2 * len(report.sites))
        plans = [each for _, _, each in spy.calls]
        found.append([each.dst for each in plans if isinstance(each, MergeReduction)])
    assert len(found[0]) == 2 * len(report.sites)
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not torch.equal(found[0][1], found[0][1 + len(report.sites)]), "another timestep"
