import copy
import gc
import io
import pickle
import subprocess
import sys
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import bigain
from bigain.errors import UserError
from bigain.operators import (
    ABM,
    IEKVD,
    LGTM,
    AvgPool,
    ByStage,
    CachedAssignment,
    Compression,
    KVSelect,
    Operator,
    SiTo,
    ToDo,
    ToMA,
    ToMe,
)
from bigain.operators.recording import Recording
from bigain.patching import apply as patching
from bigain.patching.hooks import block_hooks

Run = Callable[..., Tensor]
OPERATORS: list[Operator] = [
    *(ToMe(0.6), LGTM(0.6), CachedAssignment(0.6), ABM(0.6), SiTo(0.6), ToMA(0.6, 4)),
    *(ToDo(2), AvgPool(2), IEKVD(3, 0.9), KVSelect(0.6, "high_frequency")),
]
HYBRIDS = [ByStage(LGTM(0.6), IEKVD(2)), ByStage(ToDo(2), CachedAssignment(0.6))]


def hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


@pytest.mark.parametrize("operator", OPERATORS, ids=repr)
def test_an_operator_acts_and_leaves_without_a_trace(
    tiny_model: nn.Module, run: Run, operator: Operator
) -> None:
    bare, weights = run(tiny_model), copy.deepcopy(tiny_model.state_dict())
    with bigain.apply(tiny_model, operator) as report:
        accelerated = run(tiny_model)
    assert (accelerated - bare).abs().max() > 1e-6
    assert torch.equal(run(tiny_model), bare)
    assert hooks(tiny_model) == 0
    assert all(torch.equal(weights[name], now) for name, now in tiny_model.state_dict().items())
    assert all(site.calls == 1 and site.after == operator.num_kept((8, 8)) for site in report.sites)


@pytest.mark.parametrize("operator", [LGTM(0.6), CachedAssignment(0.6), ABM(0.6)], ids=repr)
def test_a_wider_scope_acts_and_leaves_without_a_trace(
    tiny_unet: nn.Module, run: Run, operator: Operator
) -> None:
    bare, scope = run(tiny_unet), "self+cross+mlp"
    with bigain.apply(tiny_unet, operator) as narrow:
        alone = run(tiny_unet)
    with bigain.apply(tiny_unet, operator, sites=bigain.SiteSelection(scope=scope)) as wide:
        accelerated = run(tiny_unet)
    assert (accelerated - bare).abs().max() > 1e-6
    assert not torch.equal(accelerated, alone)
    assert torch.equal(run(tiny_unet), bare)
    assert hooks(tiny_unet) == 0
    assert len(wide.sites) == 3 * len(narrow.sites)
    assert all(site.calls == 1 and site.after == operator.num_kept((8, 8)) for site in wide.sites)


@pytest.mark.parametrize("hybrid", HYBRIDS, ids=repr)
def test_a_hybrid_acts_as_its_parts_where_they_belong_and_leaves_without_a_trace(
    tiny_unet: Any, run: Run, hybrid: ByStage
) -> None:
    bare = run(tiny_unet)
    with bigain.apply(tiny_unet, hybrid) as report:
        together = run(tiny_unet)
    assert torch.equal(run(tiny_unet), bare)
    assert hooks(tiny_unet) == 0
    parts = {"encoder": hybrid.encoder, "decoder": hybrid.decoder}
    for site in report.sites:
        assert site.operator is parts[site.site.stage]
        assert (site.calls, site.after) == (1, site.operator.num_kept((8, 8)))
    assert [site.site.stage for site in report.sites] == ["encoder", "decoder", "decoder"]
    # Neither part alone gives it.
    for stage, operator in parts.items():
        with bigain.apply(tiny_unet, operator, sites=bigain.SiteSelection((stage,))):
            assert not torch.equal(run(tiny_unet), together)


@pytest.mark.parametrize("reverse", [False, True])
def test_a_hybrid_equals_the_sum_of_its_parts(tiny_unet: Any, run: Run, reverse: bool) -> None:
    """Its encoder leaves what its part alone leaves; from there on its decoder plans as alone."""
    encoder, decoder = Recording(LGTM(0.6)), Recording(ToMe(0.5))
    hybrid = ByStage(decoder, encoder) if reverse else ByStage(encoder, decoder)
    first = hybrid.encoder
    captured: list[Tensor] = []
    tiny_unet.mid_block.register_forward_pre_hook(lambda _, args: captured.append(args[0]))
    with bigain.apply(tiny_unet, hybrid):
        run(tiny_unet)
    with bigain.apply(tiny_unet, first, sites=bigain.SiteSelection(("encoder",))):
        run(tiny_unet)
    assert torch.equal(captured[0], captured[1])
    places = [[site.split(".")[0] for site, _, _ in part.calls] for part in (encoder, decoder)]
    ours, theirs = (places[1], places[0]) if reverse else (places[0], places[1])
    assert ours == ["down_blocks"] * 2  # in the hybrid, then alone
    assert theirs == ["up_blocks"] * 2


def test_an_exception_in_the_block_removes_the_operator(tiny_model: nn.Module, run: Run) -> None:
    bare = run(tiny_model)

    def fail() -> None:
        with bigain.apply(tiny_model, LGTM(0.5)):
            run(tiny_model)
            _ = 1 / 0

    with pytest.raises(ZeroDivisionError):
        fail()
    assert hooks(tiny_model) == 0
    assert torch.equal(run(tiny_model), bare)


@pytest.mark.parametrize(
    ("name", "operator"),
    [
        *((name, operator) for name in ("unet", "dit") for operator in (LGTM(0.6), ToDo(2))),
        *(("unet", operator) for operator in (CachedAssignment(0.6), HYBRIDS[0])),
    ],
    ids=str,
)
def test_an_exception_inside_a_forward_harms_neither_the_next_forward_nor_removal(
    request: pytest.FixtureRequest, run: Run, name: str, operator: Compression
) -> None:
    tiny_model: Any = request.getfixturevalue(f"tiny_{name}")
    bare = run(tiny_model)
    blocks = getattr(tiny_model, "transformer_blocks", None)
    block = blocks[0] if blocks else tiny_model.down_blocks[0].attentions[0].transformer_blocks[0]
    with bigain.apply(tiny_model, operator):
        accelerated = run(tiny_model)
        broken = block.attn1.to_v.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tiny_model)
        broken.remove()
        assert torch.equal(run(tiny_model), accelerated)
        block.attn1.to_v.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            run(tiny_model)
        block.attn1.to_v._forward_hooks.clear()
    assert torch.equal(run(tiny_model), bare)


def test_applying_twice_is_refused_and_changes_nothing(tiny_model: nn.Module, run: Run) -> None:
    with bigain.apply(tiny_model, ToMe(0.6)):
        once, installed = run(tiny_model), hooks(tiny_model)
        with pytest.raises(UserError, match=r"^model=\w+: ToMe\(ratio=0.6.* is applied already"):
            bigain.apply(tiny_model, LGTM(0.5))
        assert hooks(tiny_model) == installed
        assert torch.equal(run(tiny_model), once)


def test_without_a_context_it_stays_until_removed(tiny_model: nn.Module, run: Run) -> None:
    bare = run(tiny_model)
    report = bigain.apply(tiny_model, LGTM(0.6))
    assert report.active
    accelerated = run(tiny_model)
    assert torch.equal(run(tiny_model), accelerated)
    bigain.remove(tiny_model)
    assert not report.active
    assert torch.equal(run(tiny_model), bare)
    bigain.remove(tiny_model)


def test_leaving_an_old_context_does_not_remove_a_newer_operator(
    tiny_model: nn.Module, run: Run
) -> None:
    bare = run(tiny_model)
    with bigain.apply(tiny_model, LGTM(0.6)):
        run(tiny_model)
        bigain.remove(tiny_model)
        newer = bigain.apply(tiny_model, ToMe(0.5))
    assert newer.active
    assert not torch.equal(run(tiny_model), bare)
    with pytest.raises(UserError, match="applied already"):
        bigain.apply(tiny_model, LGTM(0.6))


def test_two_models_at_once_do_not_mix(tiny_unet: nn.Module, tiny_dit: nn.Module, run: Run) -> None:
    with bigain.apply(tiny_unet, ToMe(0.6)):
        unet_alone = run(tiny_unet)
    with bigain.apply(tiny_dit, ToDo(2)):
        dit_alone = run(tiny_dit)
    with bigain.apply(tiny_unet, ToMe(0.6)) as first, bigain.apply(tiny_dit, ToDo(2)) as second:
        assert torch.equal(run(tiny_unet), unet_alone)
        assert torch.equal(run(tiny_dit), dit_alone)
        assert torch.equal(run(tiny_unet), unet_alone)
    assert (first.forwards, second.forwards) == (2, 1)


def test_training_mode_is_left_alone(tiny_model: nn.Module) -> None:
    for training in (True, False):
        tiny_model.train(training)
        with bigain.apply(tiny_model, LGTM(0.5)):
            assert tiny_model.training is training
        assert all(module.training is training for module in tiny_model.modules())


def test_the_seed_reaches_random_operators_only(tiny_model: nn.Module, run: Run) -> None:
    def result(operator: Operator, seed: int) -> Tensor:
        with bigain.apply(tiny_model, operator, seed=seed):
            return run(tiny_model)

    assert torch.equal(result(ToMe(0.6), 1), result(ToMe(0.6), 1))
    assert not torch.equal(result(ToMe(0.6), 1), result(ToMe(0.6), 2))
    assert torch.equal(result(LGTM(0.6), 1), result(LGTM(0.6), 2))


def test_the_report_tells_what_will_happen_and_then_what_did(
    tiny_unet: nn.Module, run: Run
) -> None:
    report = bigain.apply(tiny_unet, LGTM(0.5))
    assert [site.name for site in report.sites] == [
        "down_blocks.0.attentions.0.transformer_blocks.0.attn1",
        "up_blocks.1.attentions.0.transformer_blocks.0.attn1",
        "up_blocks.1.attentions.1.transformer_blocks.0.attn1",
    ]
    assert {(s.grid, s.before, s.after, s.calls) for s in report.sites} == {((8, 8), 64, 32, 0)}
    run(tiny_unet, size=(6, 10))
    assert {(s.grid, s.before, s.after, s.calls) for s in report.sites} == {((6, 10), 60, 30, 1)}
    assert report.forwards == 1
    assert "LGTM(ratio=0.5" in str(report)
    assert "UNet2DConditionModel" in repr(report)


def test_a_model_without_sites_is_refused(tiny_unet: nn.Module) -> None:
    with pytest.raises(UserError, match=r"^model=Linear: has no site"):
        bigain.apply(nn.Linear(2, 2), LGTM(0.5))
    with pytest.raises(UserError, match="match no self-attention"):
        bigain.apply(tiny_unet, LGTM(0.5), sites=bigain.SiteSelection(levels=(7,)))
    assert hooks(tiny_unet) == 0
    bigain.apply(tiny_unet, LGTM(0.5)).remove()


def test_a_control_net_has_no_site(tiny_unet: nn.Module) -> None:
    """It has down blocks alone; a wrapper of it and a U-Net has the sites of the U-Net."""
    from diffusers import ControlNetModel  # noqa: PLC0415 - most tests need no diffusers

    control = ControlNetModel(
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=2,
    )
    with pytest.raises(UserError, match=r"^model=ControlNetModel: has no site"):
        bigain.apply(control, LGTM(0.5))
    bigain.remove(control)
    report = bigain.apply(nn.ModuleList([control, tiny_unet]), LGTM(0.5))
    assert report.model == "UNet2DConditionModel"
    bigain.remove(tiny_unet)
    assert not report.active


def test_sites_that_no_forward_reaches_are_an_error(tiny_dit: Any, run: Run) -> None:
    tiny_dit.transformer_blocks[0].forward = lambda hidden_states, **_: hidden_states
    one = bigain.SiteSelection(blocks=(0,))
    with (
        pytest.raises(UserError, match="1 forwards of DiTTransformer2DModel reached none"),
        bigain.apply(tiny_dit, LGTM(0.5), sites=one) as report,
    ):
        run(tiny_dit)
    assert report.silent == ("transformer_blocks.0.attn1",)
    with bigain.apply(tiny_dit, LGTM(0.5)) as partly:
        run(tiny_dit)
    assert partly.silent == ("transformer_blocks.0.attn1",)


def test_fused_projections_serve_merging_but_not_key_reduction(tiny_unet: Any, run: Run) -> None:
    with bigain.apply(tiny_unet, LGTM(0.5)):
        separate = run(tiny_unet)
    tiny_unet.fuse_qkv_projections()
    with pytest.raises(UserError, match=r"^operator=ToDo.*unfuse_qkv_projections"):
        bigain.apply(tiny_unet, ToDo(2))
    with bigain.apply(tiny_unet, LGTM(0.5)):
        torch.testing.assert_close(run(tiny_unet), separate, rtol=1e-4, atol=1e-5)
    tiny_unet.unfuse_qkv_projections()
    with bigain.apply(tiny_unet, ToDo(2)) as report:
        run(tiny_unet)
    assert report.sites[0].after == 16


@pytest.mark.parametrize("name", ["unet", "transformer"])
def test_pipelines_are_looked_into(tiny_dit: nn.Module, run: Run, name: str) -> None:
    pipeline = SimpleNamespace(**{name: tiny_dit})
    with bigain.apply(pipeline, LGTM(0.5)) as report:
        run(tiny_dit)
        with pytest.raises(UserError, match="applied already"):
            bigain.apply(tiny_dit, LGTM(0.5))
        bigain.remove(pipeline)
    assert report.forwards == 1
    assert hooks(tiny_dit) == 0


def test_a_forgotten_model_is_freed(tiny_dit: nn.Module) -> None:
    model = copy.deepcopy(tiny_dit)
    bigain.apply(model, LGTM(0.5))
    alive = weakref.ref(model)
    del model
    gc.collect()
    assert alive() is None


def test_the_package_offers_its_names_without_loading_torch() -> None:
    code = (
        "import sys, bigain\n"
        "assert 'torch' not in sys.modules\n"
        "assert bigain.__version__\n"
        "assert callable(bigain.apply) and callable(bigain.remove)\n"
        "assert bigain.operators.LGTM(0.5).ratio == 0.5\n"
        "assert all(getattr(bigain, name) for name in bigain.__all__)\n"
        "import bigain.patching.apply\n"
        "assert callable(bigain.apply)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=bigain.__path__[0] + "/..")


def test_unknown_names_of_the_package_are_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'aply'"):
        _ = bigain.aply


def test_a_failure_half_way_leaves_no_hook(
    tiny_model: nn.Module, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(tiny_model)
    installed: list[object] = []
    install = block_hooks

    def second_fails(*arguments: Any) -> Any:
        installed.append(arguments)
        if len(installed) == 2:
            raise KeyboardInterrupt
        return install(*arguments)

    monkeypatch.setattr(patching, "block_hooks", second_fails)
    with pytest.raises(KeyboardInterrupt):
        bigain.apply(tiny_model, LGTM(ratio=0.5))
    assert len(installed) == 2
    modules = list(tiny_model.modules())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in modules)
    assert torch.equal(run(tiny_model), expected)
    monkeypatch.undo()
    with bigain.apply(tiny_model, LGTM(ratio=0.5)):
        assert not torch.equal(run(tiny_model), expected)


@pytest.mark.parametrize("operator", [ToMe(0.6), LGTM(0.6), ABM(0.6), SiTo(0.6)])
def test_autocast_does_not_decide_which_tokens_go(
    tiny_unet: nn.Module, run: Run, operator: Operator
) -> None:
    """Scores and similarities are of single precision even where the model's products are not."""
    planned: list[tuple[torch.dtype, torch.dtype]] = []

    class Watched(type(operator)):  # type: ignore[misc]
        def plan(self, metric: Tensor, *arguments: Any, **named: Any) -> Any:
            product = metric[0].float() @ metric[0].float().T
            planned.append((metric.dtype, product.dtype))
            return super().plan(metric, *arguments, **named)

    watched = Watched(**vars(operator))
    with torch.autocast("cpu", dtype=torch.bfloat16), bigain.apply(tiny_unet, watched):
        run(tiny_unet)
    assert planned
    assert {product for _, product in planned} == {torch.float32}


# Copies: whatever copies the hooks would act on the original's forwards.


@pytest.mark.parametrize(
    "leave",
    [copy.deepcopy, pickle.dumps, lambda model: torch.save(model, io.BytesIO())],
    ids=["deepcopy", "pickle", "torch.save"],
)
def test_a_model_with_an_operator_is_not_copied(
    tiny_model: nn.Module, run: Run, leave: Callable[[nn.Module], object]
) -> None:
    bare = run(tiny_model)
    with bigain.apply(tiny_model, ToMe(0.5)) as report:
        accelerated = run(tiny_model)
        with pytest.raises(
            UserError, match=r"^model: has ToMe\(.* applied .*bigain\.remove"
        ) as told:
            leave(tiny_model)
        assert "\n" not in str(told.value)
        assert torch.equal(run(tiny_model), accelerated)
        assert report.forwards == 2
    leave(tiny_model)
    twin = copy.deepcopy(tiny_model)
    assert torch.equal(run(twin), bare)
    assert hooks(twin) == 0


def test_copies_that_share_their_modules_with_a_model_with_an_operator_are_refused(
    tiny_model: nn.Module, run: Run
) -> None:
    bare = run(tiny_model)
    report = bigain.apply(tiny_model, LGTM(0.5))
    for twin in (copy.copy(tiny_model), tiny_model._replicate_for_data_parallel()):
        for use in (run, bigain.remove, lambda model: bigain.apply(model, ToDo(2))):
            with pytest.raises(UserError, match=r"^model=\w+: .* copy"):
                use(twin)
    assert report.forwards == 0
    bigain.remove(tiny_model)
    assert torch.equal(run(twin), bare)
    with bigain.apply(twin, LGTM(0.5)):
        assert not torch.equal(run(twin), bare)


def test_a_graph_of_a_model_with_an_operator_is_not_recorded(tiny_dit: nn.Module) -> None:
    inputs = (torch.randn(1, 1, 16, 16), torch.tensor([5]), torch.tensor([1]))
    with (
        bigain.apply(tiny_dit, ToMe(0.5)),
        pytest.raises(UserError, match=r"^model=DiT.* ToMe.* cannot be traced"),
    ):
        torch.jit.trace(tiny_dit, inputs, strict=False)
    with (
        bigain.apply(tiny_dit, ToMe(0.5)),
        pytest.raises(UserError, match=r"^model=DiT.* ToMe.* cannot be exported"),
    ):
        torch.export.export(tiny_dit, inputs, strict=False)


HYBRID_PLACES = bigain.SiteSelection(("encoder", "mid"), (0, 1))
WIDE = bigain.SiteSelection(scope="self+mlp")


@pytest.mark.parametrize(
    ("operator", "named", "message"),
    [
        ("lgtm", {}, "^operator='lgtm': must be an operator object"),
        (LGTM, {}, "^operator=.*: must be an operator object"),
        (LGTM(0.5), {"sites": "self"}, "^sites='self': must be a SiteSelection"),
        (LGTM(0.5), {"seed": "a"}, "^seed='a': must be an integer"),
        (LGTM(0.5), {"seed": 1.5}, r"^seed=1\.5: must be an integer"),
        (LGTM(0.5), {"seed": True}, "^seed=True: must be an integer"),
        (HYBRIDS[0], {"sites": HYBRID_PLACES}, "^operator=ByStage.* stage `mid` .*encoder and dec"),
        (HYBRIDS[0], {"sites": WIDE}, r"^scope=self\+mlp: IEKVD.* allowed: self"),
        (ToDo(2), {"sites": WIDE}, r"^scope=self\+mlp: ToDo.* allowed: self"),
        (KVSelect(), {"sites": WIDE}, r"^scope=self\+mlp: KVSelect.* allowed: self"),
    ],
    ids=str,
)
def test_wrong_arguments_are_one_line(
    tiny_unet: nn.Module, operator: Any, named: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        bigain.apply(tiny_unet, operator, **named)
    assert "\n" not in str(caught.value)
    assert hooks(tiny_unet) == 0


def test_wrong_models_are_one_line(tiny_dit: nn.Module) -> None:
    with pytest.raises(UserError, match=r"^operator=ByStage.* `transformer` .*blocks\.0"):
        bigain.apply(tiny_dit, HYBRIDS[0])
    with pytest.raises(UserError, match=r"^model=SimpleNamespace: must be a diffusers model"):
        bigain.apply(SimpleNamespace(vae=None), LGTM(0.5))
    assert hooks(tiny_dit) == 0
