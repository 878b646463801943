"""Token merging at the image tokens of SD3's joint attention; the text is never merged."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from bigain.errors import UserError
from bigain.operators import LGTM, ToDo, TokenReducer, ToMA, ToMe
from bigain.patching.apply import apply
from bigain.patching.cost import JointCost, cost_of
from bigain.patching.selection import SiteSelection
from bigain.patching.sites import find_sites
from bigain.tasks.flops import count_flops, count_model_flops
from bigain.testing.flow_backbones import tiny_transformer

WORDS, SIDE, TOKENS, WIDTH = 7, 8, 16, 16
FIRST = SiteSelection(blocks=(0,))
ALL = SiteSelection(blocks=(0, 1, 2, 3))
OPERATORS: list[TokenReducer] = [ToMe(0.5), LGTM(0.7), ToMA(0.5)]


@pytest.fixture(params=["sd3_medium", "sd35_medium"])
def model(request: pytest.FixtureRequest) -> Any:
    torch.manual_seed(0)
    made = tiny_transformer(request.param).eval().requires_grad_(False)
    for name, parameter in made.named_parameters():  # adaLN-zero begins with gates of zero
        if "norm1" in name or "norm_out" in name:
            parameter.normal_(std=0.3)
    return made


def inputs(batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "hidden_states": torch.randn(batch, 4, SIDE, SIDE, generator=generator),
        "encoder_hidden_states": torch.randn(batch, WORDS, 32, generator=generator),
        "pooled_projections": torch.randn(batch, 32, generator=generator),
        "timestep": torch.full((batch,), 300.0),
    }


@torch.no_grad()
def output(model: Any) -> Tensor:
    found: Tensor = model(**inputs()).sample
    return found


class Seen:
    """What enters and leaves the joint attention of a block."""

    def __init__(self, attention: nn.Module) -> None:
        self.given: dict[str, Tensor] = {}
        self.left: tuple[Tensor, ...] = ()
        attention.register_forward_pre_hook(self._before, with_kwargs=True)
        attention.register_forward_hook(self._after)

    def _before(self, module: nn.Module, args: Any, kwargs: dict[str, Tensor]) -> None:
        del module, args
        self.given = dict(kwargs)

    def _after(self, module: nn.Module, args: Any, out: tuple[Tensor, ...]) -> None:
        del module, args
        self.left = out


def test_ratio_0_is_bit_equal(model: Any) -> None:
    plain = output(model)
    with apply(model, ToMe(0.0), sites=ALL) as report:
        assert torch.equal(output(model), plain)
    assert {use.after for use in report.sites} == {TOKENS}
    assert torch.equal(output(model), plain)


@pytest.mark.parametrize("operator", OPERATORS)
def test_the_text_enters_as_it_is_and_the_image_has_fewer_tokens(
    model: Any, operator: TokenReducer
) -> None:
    attention = model.transformer_blocks[0].attn
    before, text = Seen(attention), "encoder_hidden_states"
    plain = output(model)
    words = before.given[text]
    with apply(model, operator, sites=FIRST):
        inside = Seen(attention)  # after the operator's hook, so it sees what that made
        merged = output(model)
    assert torch.equal(inside.given[text], words)
    assert inside.given["hidden_states"].shape[1] == operator.num_kept((4, 4)) < TOKENS
    assert [each.shape[1] for each in inside.left] == [TOKENS, WORDS]
    assert not torch.allclose(merged, plain)


@pytest.mark.parametrize("operator", OPERATORS)
def test_it_equals_the_attention_of_the_merged_tokens_and_the_text(
    model: Any, operator: TokenReducer
) -> None:
    """Written out: project, one soft-max over all tokens, split, restore the image's part."""
    attention = model.transformer_blocks[0].attn
    with apply(model, operator, sites=FIRST):
        inside = Seen(attention)
        output(model)
    x, text = inside.given["hidden_states"], inside.given["encoder_hidden_states"]

    def heads(tokens: Tensor, norm: nn.Module | None) -> Tensor:
        split = tokens.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        normed: Tensor = split if norm is None else norm(split)
        return normed

    q, k, v = (
        torch.cat([heads(image(x), norms[0]), heads(words(text), norms[1])], dim=2)
        for image, words, norms in (
            (attention.to_q, attention.add_q_proj, (attention.norm_q, attention.norm_added_q)),
            (attention.to_k, attention.add_k_proj, (attention.norm_k, attention.norm_added_k)),
            (attention.to_v, attention.add_v_proj, (None, None)),
        )
    )
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(dim=-1)
    both = (weights @ v).transpose(1, 2).flatten(2)
    merged = attention.to_out[0](both[:, : x.shape[1]])
    image, words = inside.left
    assert torch.allclose(words, attention.to_add_out(both[:, x.shape[1] :]), atol=1e-5)
    for row in range(len(x)):  # every token has a mean of merged outputs, each of which is there
        shares = torch.linalg.lstsq(merged[row].T, image[row].T).solution
        assert torch.allclose(shares.T @ merged[row], image[row], atol=1e-4)
        assert torch.allclose(shares.sum(dim=0), torch.ones(TOKENS), atol=1e-3)
        assert float(shares.min()) > -1e-3
        assert float(shares.max(dim=1).values.min()) > 0.5
        assert isinstance(operator, ToMA) or torch.allclose(shares, shares.round(), atol=1e-3)


@pytest.mark.parametrize("scope", ["self", "self+mlp"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_flops_are_those_of_the_closed_form(model: Any, operator: TokenReducer, scope: str) -> None:
    count = count_model_flops(model, inputs(), operator, SiteSelection(blocks=(0, 3), scope=scope))
    assert count.closed_form == count.total < count.baseline


def test_full_size_saves_what_the_formula_says() -> None:
    """4 (N' + n)^2 C and 8 N' C^2 per block, n = 333 tokens of text (rivals.md 3.3)."""
    operator, n, width, words = ToMe(0.5), 1024, 1536, 77 + 256
    kept = operator.num_kept((32, 32))
    count = count_flops("sd3_medium", operator)
    attention = 4 * width * ((n + words) ** 2 - (kept + words) ** 2)
    projections = 8 * width**2 * (n - kept)
    plan = operator.plan_flops((32, 32), width)
    assert count.saved == 10 * (attention + projections - plan)
    assert count.closed_form == count.total
    half = (1 + 0.5) ** 2
    assert (0.5 + 0.5) ** 2 / half == pytest.approx(0.44, abs=0.005), "the saving saturates"


def test_the_cost_of_a_joint_attention_is_that_of_its_parts() -> None:
    assert JointCost(image=12, text=9, inner=4).flops(5, 8) == 2 * (5 * 12 + 3 * 9) + 4 * 64 * 4
    blocks = tiny_transformer("sd3_medium").transformer_blocks
    assert cost_of("self", blocks[0].attn) == JointCost(4 * WIDTH**2, 4 * WIDTH**2, WIDTH)
    assert cost_of("self", blocks[-1].attn) == JointCost(4 * WIDTH**2, 3 * WIDTH**2, WIDTH)


def test_what_joint_attention_does_not_carry_is_refused_by_name(model: Any) -> None:
    with pytest.raises(UserError, match="attends to image and text jointly; allowed: one that"):
        apply(model, ToDo(2), sites=FIRST)
    with pytest.raises(UserError, match="has no cross module `attn2`; allowed: a scope without"):
        find_sites(model, SiteSelection(blocks=(0,), scope="self+cross"))
    with pytest.raises(UserError, match="one table of places for all samples"):
        find_sites(tiny_transformer("flux_dev"))
    assert output(model).shape == (2, 4, SIDE, SIDE)
