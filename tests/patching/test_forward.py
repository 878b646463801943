"""What belongs to one forward: its sample, timesteps and plans, whatever surrounds the call."""

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

import bigain
from bigain.errors import UserError
from bigain.operators import ABM, IEKVD, LGTM, CachedAssignment, LinearAlpha, Operator, ToDo, ToMe

Run = Callable[..., Tensor]
DEPEND_ON_TIME: list[Operator] = [ToMe(0.6), IEKVD(2, LinearAlpha(0.0, 2.0))]


class Wrapper(nn.Module):
    """What peft, accelerate and DistributedDataParallel put around a model."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.inner = model

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self.inner(*args, **kwargs)


def replaced(model: nn.Module) -> nn.Module:
    """Its `forward` takes anything, as after DeepCache or accelerate."""
    original = model.forward

    def forward(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **kwargs)

    model.forward = forward
    return model


def renamed(model: nn.Module) -> nn.Module:
    """Its `forward` takes the arguments in another order and under other names."""
    original = model.forward

    def forward(text: Tensor, noise_level: Tensor, latents: Tensor) -> Any:
        return original(latents, 999 - noise_level, encoder_hidden_states=text)

    model.forward = forward
    return model


def arguments(batch: int = 2) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(3)
    return {
        "sample": torch.randn(batch, 2, 8, 8, generator=generator),
        "timestep": torch.tensor([17, 640])[:batch],
        "encoder_hidden_states": torch.randn(batch, 3, 6, generator=generator),
    }


def of(output: Any) -> Tensor:
    sample: Tensor = output.sample
    return sample.detach()


# The call: wrapped, replaced, by position, by name.


@pytest.mark.parametrize("surround", [replaced, Wrapper], ids=["replaced", "wrapped"])
@pytest.mark.parametrize("operator", DEPEND_ON_TIME, ids=repr)
def test_a_model_whose_call_is_replaced_or_wrapped_gives_the_same(
    tiny_unet: nn.Module, surround: Callable[[nn.Module], nn.Module], operator: Operator
) -> None:
    inputs = arguments()
    with bigain.apply(tiny_unet, operator):
        expected = of(tiny_unet(**inputs))
        other_time = of(tiny_unet(**{**inputs, "timestep": torch.tensor([500, 500])}))
    assert not torch.equal(other_time, expected)
    model = surround(tiny_unet)
    with bigain.apply(model, operator) as report:
        assert torch.equal(of(model(**inputs)), expected)
        assert torch.equal(of(model(*inputs.values())), expected)
        assert torch.equal(of(model(*list(inputs.values())[:2], inputs.popitem()[1])), expected)
    assert report.forwards == 3


def test_a_call_with_other_names_gives_the_timesteps_that_reach_the_model(
    tiny_unet: nn.Module,
) -> None:
    inputs = arguments()
    sample, times, text = inputs.values()
    with bigain.apply(tiny_unet, ToMe(0.6)):
        expected = of(tiny_unet(**inputs))
    model = renamed(tiny_unet)
    with bigain.apply(model, ToMe(0.6)):
        assert torch.equal(of(model(text, latents=sample, noise_level=999 - times)), expected)


def test_a_forward_that_runs_the_model_twice_plans_twice(tiny_unet: nn.Module) -> None:
    """Guidance in two passes of different images: neither uses the other's plan."""
    first, second = arguments(), {**arguments(), "sample": torch.randn(2, 2, 8, 8)}
    with bigain.apply(tiny_unet, CachedAssignment(0.6)):
        expected = [of(tiny_unet(**first)), of(tiny_unet(**second))]
    original = tiny_unet.forward
    both = [first, second]
    tiny_unet.forward = lambda: [original(**inputs) for inputs in both]
    with bigain.apply(tiny_unet, CachedAssignment(0.6)):
        outputs = [of(output) for output in tiny_unet()]
    assert all(map(torch.equal, outputs, expected))


def test_two_models_in_one_wrapper_are_refused(tiny_unet: nn.Module, tiny_dit: nn.Module) -> None:
    with pytest.raises(UserError, match=r"^model=ModuleList: holds 2 .*UNet2D.*DiTTransf.*one of"):
        bigain.apply(nn.ModuleList([tiny_unet, tiny_dit]), LGTM(0.5))


def test_a_model_whose_timestep_cannot_be_seen_is_refused(tiny_unet: Any) -> None:
    inputs = arguments()
    with bigain.apply(tiny_unet, ToMe(0.6)):
        tiny_unet.time_proj = type(tiny_unet.time_proj)(8, True, 0)
        with pytest.raises(UserError, match=r"^site=down_blocks\.0.* time_proj has not seen"):
            tiny_unet(**inputs)
    tiny_unet.other_name = tiny_unet.time_proj
    del tiny_unet.time_proj
    with pytest.raises(UserError, match=r"^model=UNet2D.*: has no time_proj; allowed: "):
        bigain.apply(tiny_unet, ToMe(0.6))


def test_the_timestep_is_that_of_the_denoiser_and_not_a_number_of_a_frame() -> None:
    """Stable Video Diffusion embeds the frames' numbers with modules of the same name."""
    from diffusers import UNetSpatioTemporalConditionModel  # noqa: PLC0415 - most need no diffusers

    torch.manual_seed(0)
    model: Any = UNetSpatioTemporalConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=2,
        down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
        up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
        block_out_channels=(32, 64),
        layers_per_block=1,
        cross_attention_dim=6,
        addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=12,
        num_attention_heads=2,
        num_frames=3,
    )
    frames, text, ids = torch.randn(1, 3, 4, 8, 8), torch.randn(1, 1, 6), torch.randn(1, 3)
    drawn: list[Any] = []

    class Spied(ToMe):
        def plan(self, metric: Tensor, grid: Any, draw: Any = None) -> Any:
            drawn.append(draw.timesteps)
            return super().plan(metric, grid, draw)

    with torch.no_grad(), bigain.apply(model, Spied(0.5)):
        for time in (3, 900):
            drawn.clear()
            model(frames, time, encoder_hidden_states=text, added_time_ids=ids)
            assert drawn
            assert {float(each) for times in drawn for each in times.reshape(-1)} == {time}


@pytest.mark.parametrize(
    "wrap", [dict, tuple, list, SimpleNamespace], ids=lambda kind: kind.__name__
)
def test_a_replaced_forward_may_return_anything(tiny_unet: Any, wrap: Any) -> None:
    original = tiny_unet.forward
    inputs = arguments()

    def forward(**named: Any) -> Any:
        sample = original(**named).sample
        return wrap(sample=sample) if wrap in (dict, SimpleNamespace) else wrap([sample])

    tiny_unet.forward = forward
    with bigain.apply(tiny_unet, ToMe(0.6)) as report:
        tiny_unet(**inputs)
    assert report.forwards == 1


# Outside a forward.


@pytest.mark.parametrize("operator", [CachedAssignment(0.6), ToDo(2)], ids=repr)
def test_forward_called_directly_is_refused(tiny_unet: nn.Module, operator: Operator) -> None:
    inputs = arguments()
    with bigain.apply(tiny_unet, operator):
        expected = of(tiny_unet(**inputs))
        with pytest.raises(
            UserError, match=r"^site=down_blocks\.0.* outside a forward .*`forward`"
        ):
            tiny_unet.forward(**{**inputs, "timestep": torch.tensor([1, 2])})
        assert torch.equal(of(tiny_unet(**inputs)), expected)


def test_a_forward_that_failed_is_over(tiny_unet: Any) -> None:
    inputs = arguments()
    with bigain.apply(tiny_unet, ToMe(0.6)) as report:
        broken = tiny_unet.conv_out.register_forward_hook(lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            tiny_unet(**inputs)
        broken.remove()
        with pytest.raises(UserError, match="outside a forward"):
            tiny_unet.forward(**inputs)
        assert report.forwards == 0
        tiny_unet(**inputs)
    assert report.calls == dict.fromkeys(report.calls, 1)


# Threads.


@pytest.mark.parametrize("operator", [CachedAssignment(0.6), ABM(0.6), ToMe(0.6)], ids=repr)
def test_a_second_forward_at_the_same_time_is_refused_and_harms_nothing(
    tiny_unet: Any, operator: Operator
) -> None:
    one, other = arguments(2), arguments(1)
    with bigain.apply(tiny_unet, operator):
        expected = of(tiny_unet(**one))
    inside, leave = threading.Event(), threading.Event()

    def wait(*_: object) -> None:
        inside.set()
        assert leave.wait(30)

    with bigain.apply(tiny_unet, operator) as report, ThreadPoolExecutor(1) as pool:
        stop = tiny_unet.mid_block.register_forward_hook(wait)
        running = pool.submit(lambda: of(tiny_unet(**one)))
        assert inside.wait(30)
        for call in (tiny_unet, tiny_unet.forward):
            with pytest.raises(UserError, match=r"another thread|outside a forward"):
                call(**other)
        leave.set()
        assert torch.equal(running.result(), expected)
        stop.remove()
        assert torch.equal(of(tiny_unet(**one)), expected)
        assert torch.equal(pool.submit(lambda: of(tiny_unet(**one))).result(), expected)
    assert report.forwards == 3


def test_a_forward_that_was_interrupted_in_another_thread_is_over(tiny_unet: Any) -> None:
    inputs = arguments()
    with bigain.apply(tiny_unet, ToMe(0.6)):
        expected = of(tiny_unet(**inputs))

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def call() -> None:
        with contextlib.suppress(KeyboardInterrupt):
            tiny_unet(**inputs)

    with bigain.apply(tiny_unet, ToMe(0.6)), ThreadPoolExecutor(1) as pool:
        stop = tiny_unet.mid_block.register_forward_hook(interrupt)
        pool.submit(call).result()  # its thread is alive
        stop.remove()
        assert torch.equal(of(tiny_unet(**inputs)), expected)
        stop = tiny_unet.mid_block.register_forward_hook(interrupt)
        call()
        stop.remove()
        assert torch.equal(pool.submit(lambda: of(tiny_unet(**inputs))).result(), expected)


# A backward pass that recomputes blocks.


@pytest.mark.parametrize("reentrant", [False, True])
@pytest.mark.parametrize("operator", [ToMe(0.6), CachedAssignment(0.6)], ids=repr)
def test_each_backward_recomputes_with_its_own_forward(
    tiny_unet: Any, operator: Operator, reentrant: bool
) -> None:
    """Two forwards at different timesteps, then one backward pass through both."""
    tiny_unet.train()
    first = arguments()
    second = {**arguments(), "timestep": torch.tensor([999, 3])}
    second["sample"] = second["sample"].flip(0) + 1
    blocks = [tiny_unet.down_blocks[0].attentions[0], *tiny_unet.up_blocks[1].attentions]

    def gradient() -> Tensor:
        tiny_unet.zero_grad()
        with bigain.apply(tiny_unet, operator):
            loss = sum(tiny_unet(**inputs).sample.square().mean() for inputs in (first, second))
            loss.backward()
        slope: Tensor = tiny_unet.down_blocks[0].attentions[0].proj_in.weight.grad
        return slope.clone()

    expected = gradient()
    for block in blocks:
        block.forward = recomputed(block.forward, reentrant)
    torch.testing.assert_close(gradient(), expected, rtol=1e-5, atol=1e-7)


def recomputed(forward: Callable[..., Any], reentrant: bool) -> Callable[..., Any]:
    def call(hidden_states: Tensor, **named: Any) -> Any:
        return checkpoint(lambda x: forward(x, **named), hidden_states, use_reentrant=reentrant)

    return call


def test_a_backward_that_recomputes_after_removal_is_refused(tiny_unet: Any) -> None:
    """The blocks would run without the operator, and gradients would be wrong."""
    inputs = arguments()
    block = tiny_unet.down_blocks[0].attentions[0]
    original = block.forward
    block.forward = recomputed(original, reentrant=True)
    with bigain.apply(tiny_unet, ToDo(2)):
        loss = tiny_unet(**inputs).sample.mean()
    with pytest.raises(UserError, match=r"^model=UNet2D.* backward before bigain\.remove"):
        loss.backward()
    block.forward = original
    with bigain.apply(tiny_unet, ToDo(2)):
        loss = tiny_unet(**inputs).sample.mean()
    loss.backward()  # nothing is computed again


def test_after_a_backward_nothing_is_recomputed_any_more(tiny_unet: Any) -> None:
    inputs = arguments()
    with bigain.apply(tiny_unet, ToMe(0.6)):
        tiny_unet(**inputs).sample.mean().backward()
        with pytest.raises(UserError, match="outside a forward"):
            tiny_unet.forward(**inputs)
