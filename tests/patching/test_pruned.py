"""Gates by timestep in real models: nothing else changes, and what is skipped is not computed."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bigain import apply, remove
from bigain.errors import UserError
from bigain.operators import LGTM, DiPGO, MaskTable
from bigain.patching.branches import Branch, find_branches
from bigain.patching.pruned import Gates
from bigain.patching.sharing import Sharing
from bigain.tasks.flops import FUSED_ATTENTION, count_flops, count_model_flops

Run = Callable[..., Tensor]
TIMES = torch.tensor([0, 300, 600])


def table(branches: tuple[Branch, ...], off: dict[int, set[str]]) -> MaskTable:
    names = tuple(branch.name for branch in branches)
    masks = {t: tuple(name not in off.get(t, set()) for name in names) for t in TIMES.tolist()}
    return MaskTable(names, masks, dict.fromkeys(TIMES.tolist(), 1))


def random_table(model: nn.Module, seed: int = 0) -> MaskTable:
    branches = find_branches(model)
    generator = torch.Generator().manual_seed(seed)
    off = {
        t: {b.name for b in branches if torch.rand((), generator=generator) < 0.4}
        for t in TIMES.tolist()
    }
    return table(branches, off)


def by_hand(model: nn.Module, run: Run, off: set[str], **how: Any) -> Tensor:
    """The forward with zeros for the outputs of those branches, by hooks on their modules."""
    branches = [branch for branch in find_branches(model) if branch.name in off]
    handles = [
        module.register_forward_hook(lambda _module, _args, output: torch.zeros_like(output))
        for branch in branches
        for _, module in branch.modules
    ]
    output = run(model, **how)
    for handle in handles:
        handle.remove()
    return output


def test_branches_are_found_by_structure(tiny_unet: nn.Module, tiny_dit: nn.Module) -> None:
    parts = [branch.part for branch in find_branches(tiny_unet)]
    assert {part: parts.count(part) for part in dict.fromkeys(parts)} == {
        "resnet": 8,
        "self": 7,
        "cross": 7,
        "mlp": 7,
    }
    assert [branch.part for branch in find_branches(tiny_dit)] == ["self", "mlp"] * 4
    with pytest.raises(UserError, match=r"^model=Linear: has no residual branch"):
        find_branches(nn.Linear(2, 2))


@pytest.mark.parametrize(("name", "gates"), [("sd20", 70), ("dit_xl2_512", 56), ("mini_unet", 29)])
def test_published_models_have_as_many_gates_as_expected(name: str, gates: int) -> None:
    from bigain.backbones.denoisers import build_denoiser  # noqa: PLC0415

    assert len(find_branches(build_denoiser(name, "meta"))) == gates


def test_all_gates_on_is_the_model_bit_for_bit(tiny_model: nn.Module, run: Run) -> None:
    before = run(tiny_model)
    with apply(tiny_model, table(find_branches(tiny_model), {})) as report:
        assert torch.equal(run(tiny_model), before)
    assert report.flops_saved == 0
    assert report.places == ()


def test_a_sample_runs_the_mask_of_its_timestep(tiny_model: nn.Module, run: Run) -> None:
    before = run(tiny_model, timesteps=TIMES)
    operator = random_table(tiny_model)
    with apply(tiny_model, operator) as report:
        mixed = run(tiny_model, timesteps=TIMES)
    assert torch.equal(run(tiny_model, timesteps=TIMES), before)
    for row, timestep in enumerate(TIMES.tolist()):
        gates = zip(operator.branches, operator.masks[timestep], strict=True)
        off = {name for name, gate in gates if not gate}
        wanted = by_hand(tiny_model, run, off, timesteps=TIMES)[row]
        torch.testing.assert_close(mixed[row], wanted, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(mixed[row], before[row], atol=1e-4)
    assert report.forwards == 1
    assert report.flops_saved
    assert repr(report).startswith(f"PruningReport({operator!r} on ")


def test_all_branches_off_leaves_the_identity_path(tiny_dit: Any, run: Run) -> None:
    """Norm and projection of the embedded input: what the blocks would add is gone."""
    names = {branch.name for branch in find_branches(tiny_dit)}
    operator = table(find_branches(tiny_dit), dict.fromkeys(TIMES.tolist(), names))
    with apply(tiny_dit, operator):
        output = run(tiny_dit, timesteps=TIMES)
    blocks, tiny_dit.transformer_blocks = tiny_dit.transformer_blocks, nn.ModuleList()
    passing = [_Passing(blocks[0])]
    tiny_dit.transformer_blocks = nn.ModuleList(passing)
    torch.testing.assert_close(output, run(tiny_dit, timesteps=TIMES))


class _Passing(nn.Module):
    """A block that returns its input; the model asks its norm for the time embedding."""

    def __init__(self, block: Any) -> None:
        super().__init__()
        self.norm1 = block.norm1

    def forward(self, x: Tensor, **_: Any) -> Tensor:
        return x


def test_permuted_samples_give_permuted_outputs(tiny_model: nn.Module, run: Run) -> None:
    order = torch.tensor([2, 0, 1])

    def permuted(module: nn.Module, args: Any, kwargs: Any) -> Any:
        del module
        own = {k: v[order] if isinstance(v, Tensor) else v for k, v in kwargs.items()}
        return tuple(each[order] for each in args), own

    with apply(tiny_model, random_table(tiny_model, 1)):
        output = run(tiny_model, timesteps=TIMES)
        handle = tiny_model.register_forward_pre_hook(permuted, with_kwargs=True, prepend=True)
        other = run(tiny_model, timesteps=TIMES)
        handle.remove()
    torch.testing.assert_close(other, output[order], rtol=1e-5, atol=1e-6)


def test_what_is_skipped_is_not_computed(tiny_model: nn.Module, run: Run) -> None:
    """The FLOPs of a real mixed batch are those of the model less those of gates that are off."""

    def counted() -> int:
        with FlopCounterMode(display=False, custom_mapping=dict(FUSED_ATTENTION)) as counter:
            run(tiny_model, timesteps=TIMES)
        return int(counter.get_total_flops())

    full = counted()
    with apply(tiny_model, random_table(tiny_model)) as report:
        assert report.flops_saved == 0
        left = counted()
        assert report.flops_saved is not None
        saved = full - left
        assert saved == pytest.approx(len(TIMES) * report.flops_saved, abs=len(TIMES))
    assert left < full


@pytest.mark.parametrize("name", ["mini_unet", "mini_dit", "sd20", "dit_xl2_512"])
def test_the_mean_over_evaluations_is_counted_and_in_closed_form(name: str) -> None:
    from bigain.backbones.denoisers import build_denoiser  # noqa: PLC0415

    names = tuple(branch.name for branch in find_branches(build_denoiser(name, "meta")))
    some = tuple(number % 3 > 0 for number in range(len(names)))
    operator = MaskTable(names, {1: some, 2: (True,) * len(names)}, {1: 3, 2: 1})
    count = count_flops(name, operator)
    assert count.total == count.closed_form
    always = count_flops(name, MaskTable(names, {1: some}, {1: 1}))
    assert count.total == round((3 * always.total + count.baseline) / 4)
    assert sum(count.by_kind.values()) == count.total
    assert min(count.by_kind.values()) >= 0


def test_flops_of_sd20_are_those_of_the_closed_forms() -> None:
    """GFLOPs of one forward, from the widths and grids of SD-2.0 alone."""
    from bigain.backbones.denoisers import build_denoiser  # noqa: PLC0415

    model = build_denoiser("sd20", "meta")
    branches = find_branches(model)
    names = tuple(branch.name for branch in branches)
    n, c, text, context = 4096, 320, 77, 1024
    resnet = "down_blocks.0.resnets.0"
    wanted = {
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1": 8 * n * c**2 + 4 * n**2 * c,
        "down_blocks.0.attentions.0.transformer_blocks.0.attn2": (
            4 * n * c**2 + 4 * text * context * c + 4 * n * text * c
        ),
        "down_blocks.0.attentions.0.transformer_blocks.0.ff": 24 * n * c**2,
        resnet: 2 * 2 * 9 * c**2 * n,
    }
    for name, flops in wanted.items():
        operator = MaskTable(names, {0: tuple(each != name for each in names)}, {0: 1})
        assert count_flops("sd20", operator).saved == flops


def test_the_mask_needs_the_models_branches(tiny_unet: nn.Module, tiny_dit: nn.Module) -> None:
    with pytest.raises(UserError, match=r"has masks for 8 branches, UNet2DConditionModel has 29"):
        apply(tiny_unet, table(find_branches(tiny_dit), {}))
    assert not list(tiny_unet._forward_pre_hooks)
    with pytest.raises(UserError, match=r"^operator=DiPGO\(.*is not calibrated"):
        apply(tiny_unet, DiPGO(0.1))


def test_it_is_removed_after_an_error_and_only_one_operator_is_applied(
    tiny_model: nn.Module, run: Run
) -> None:
    before, keys = run(tiny_model), list(tiny_model.state_dict())
    operator = random_table(tiny_model)
    with (
        pytest.raises(UserError, match=r"^timestep=17: there is no mask"),
        apply(tiny_model, operator),
    ):
        run(tiny_model, timesteps=torch.tensor([0, 17, 300]))
    apply(tiny_model, operator)
    assert list(tiny_model.state_dict()) == keys
    with pytest.raises(UserError, match=r"is applied already"):
        apply(tiny_model, LGTM(0.5))
    with pytest.raises(UserError, match=r"cannot be copied"):
        copy.deepcopy(tiny_model)
    remove(tiny_model)
    assert torch.equal(run(tiny_model), before)
    copy.deepcopy(tiny_model)


def test_rows_that_are_shared_between_classes_take_their_own_masks(tiny_unet: Any) -> None:
    """The first modules compute one row of each (latents, timestep), see `Sharing`."""
    generator = torch.Generator().manual_seed(3)
    latents = torch.randn(2, 2, 8, 8, generator=generator).repeat_interleave(3, dim=0)
    context = torch.randn(6, 3, 6, generator=generator)
    times = torch.tensor([0, 600]).repeat_interleave(3)
    branches = find_branches(tiny_unet)
    first = "down_blocks.0.resnets.0", "down_blocks.0.attentions.0.transformer_blocks.0.attn1"
    with apply(tiny_unet, table(branches, {600: set(first), 0: {first[1]}})), torch.no_grad():
        wanted = tiny_unet(latents, times, encoder_hidden_states=context).sample
        with Sharing(tiny_unet) as sharing, sharing.rows(torch.tensor([0, 0, 0, 1, 1, 1]), times):
            shared = tiny_unet(latents, times, encoder_hidden_states=context).sample
    torch.testing.assert_close(shared, wanted, rtol=1e-5, atol=1e-6)


def test_gates_by_row_are_those_of_single_masks(tiny_model: nn.Module, run: Run) -> None:
    with Gates(tiny_model) as gates:
        mask = torch.ones(3, len(gates.branches), dtype=torch.bool)
        mask[1, 0] = mask[2, -1] = False
        with gates.rows(mask):
            output = run(tiny_model)
        flops = gates.flops()
    for row, branch in ((0, None), (1, gates.branches[0]), (2, gates.branches[-1])):
        wanted = by_hand(tiny_model, run, {branch.name} if branch else set())[row]
        torch.testing.assert_close(output[row], wanted, rtol=1e-5, atol=1e-6)
    assert all(each > 0 for each in flops)
    assert count_model_flops(nn.Linear(3, 4), {"input": torch.zeros(2, 3)}).total == 48
