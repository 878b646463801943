"""The sensitivity of branches: on a model whose branches are constants, and by plain forwards."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from bigain.backbones.mini import load_mini
from bigain.backbones.noise_schedules import variance_preserving
from bigain.launch.compose import compose_config
from bigain.patching.pruned import Gates
from bigain.tasks.batches import MicroBatches
from bigain.tasks.evaluations import draw_trials
from bigain.tasks.sensitivity import image_sensitivity, other_class


class Constant(nn.Module):
    """A branch that adds the same number everywhere, whatever it is given."""

    def __init__(self, value: float) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> Tensor:
        return torch.full_like(x, self.value)


class Block(nn.Module):
    def __init__(self, attention: float, mlp: float) -> None:
        super().__init__()
        self.attn1, self.ff = Constant(attention), Constant(mlp)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn1(x)
        result: Tensor = x + self.ff(x)
        return result


class Additive:
    """A backbone that predicts the sum of its branches, the latents apart; class c adds c."""

    schedule = variance_preserving(torch.linspace(0.99, 0.01, 1000, dtype=torch.float64))

    def __init__(self, *values: float) -> None:
        pairs = zip(values[::2], values[1::2], strict=True)
        self.denoiser = nn.Sequential(*(Block(*pair) for pair in pairs), nn.Linear(1, 1))

    def predict_noise(self, latents: Tensor, timesteps: Tensor, classes: Tensor) -> Tensor:
        del timesteps
        output = torch.zeros_like(latents).flatten(2) + classes.view(-1, 1, 1)
        for block in list(self.denoiser)[:-1]:
            output = block(output)
        return output.view_as(latents)


def measure(backbone: Any, classes: tuple[int, ...], size: int = 64) -> Any:
    image = 7, torch.zeros(1, 1, 4, 4)
    times = torch.tensor([100, 500])
    with Gates(backbone.denoiser) as gates:
        return image_sensitivity(backbone, gates, image, classes, times, 0, MicroBatches(size))


@pytest.mark.parametrize("size", [1, 2, 64])
def test_constant_branches_have_their_squares(size: int) -> None:
    values = (0.5, -2.0, 1.0, 0.25)
    backbone = Additive(*values)
    found = measure(backbone, (3,), size)
    squares = np.square(values)
    assert found.without.numpy() == pytest.approx(np.stack([squares, squares]), rel=1e-6)
    image, times = torch.zeros(1, 1, 4, 4), torch.tensor([100, 500])
    noise, _ = draw_trials(backbone, "noise", 0, 7, image, times)  # type: ignore[arg-type]
    errors = (noise.double() - 3 - sum(values)).square().flatten(1).mean(1)
    assert found.base.numpy() == pytest.approx(errors.numpy(), rel=1e-6)


def test_constant_branches_do_not_change_the_contrast() -> None:
    found = measure(Additive(0.5, -2.0), (3, 5))
    assert found.without.abs().max() == 0
    assert found.base.tolist() == pytest.approx([4.0, 4.0])


def test_the_other_class_is_another_one_and_all_of_them_occur() -> None:
    drawn = [other_class(0, image_id, 4, 10) for image_id in range(400)]
    assert set(drawn) == set(range(10)) - {4}
    assert drawn == [other_class(0, image_id, 4, 10) for image_id in range(400)]
    assert drawn != [other_class(1, image_id, 4, 10) for image_id in range(400)]


@pytest.mark.parametrize("classes", [(2,), (2, 6)])
def test_a_mini_is_measured_as_by_forwards_with_zeros(classes: tuple[int, ...]) -> None:
    config = compose_config(["backbone=mini_dit"])
    backbone = load_mini("mini_dit", config.backbone.revision, torch.device("cpu"), torch.float32)
    latents = torch.randn(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    times = torch.tensor([475])
    with Gates(backbone.denoiser) as gates:
        found = image_sensitivity(
            backbone, gates, (11, latents), classes, times, 0, MicroBatches(5)
        )
        branches = gates.branches
    noise, noisy = draw_trials(backbone, "noise", 0, 11, latents, times)

    def predicted() -> Tensor:
        with torch.no_grad():
            each = [backbone.predict_noise(noisy, times, torch.tensor([c])) for c in classes]
        return each[0] if len(each) == 1 else each[0] - each[1]

    full = predicted()
    target = noise if len(classes) == 1 else 0
    assert float(found.base[0]) == pytest.approx(float((full - target).square().mean()), rel=1e-4)
    for number in (0, 3, 7):
        ((_, module),) = branches[number].modules
        handle = module.register_forward_hook(lambda *a: torch.zeros_like(a[-1]))
        wanted = float((predicted() - full).square().mean())
        handle.remove()
        assert float(found.without[0, number]) == pytest.approx(wanted, rel=1e-3)
        assert wanted > 0
