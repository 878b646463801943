"""Models small enough for a forward in milliseconds, built as diffusers builds the large ones.

And tables made by hand, and programs of the machine that pip does not install.
"""

import shutil
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import torch
from hypothesis import settings
from torch import Tensor, nn

from bigain.tables.document import DASH, Cell, Document, Line, Panel

Run = Callable[..., Tensor]

# No time limit for an example: a busy machine is slow.
settings.register_profile("bigain", deadline=None)
settings.load_profile("bigain")

# A shell starts what is in its background with SIGINT ignored, and programs of tests inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def tiny_unet() -> nn.Module:
    """Levels 8x8 and 4x4 (on 8x8 latents), with attention at both and in the middle."""
    from diffusers import UNet2DConditionModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    model: nn.Module = UNet2DConditionModel(
        sample_size=8,
        in_channels=2,
        out_channels=2,
        down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D"),
        block_out_channels=(8, 16),
        layers_per_block=1,
        norm_num_groups=4,
        cross_attention_dim=6,
        attention_head_dim=2,
    )
    return model.eval()


@pytest.fixture
def tiny_dit() -> nn.Module:
    """Four blocks on 8x8 tokens (16x16 images in patches of 2x2)."""
    from diffusers import DiTTransformer2DModel  # noqa: PLC0415 - most tests need no diffusers

    torch.manual_seed(0)
    model: nn.Module = DiTTransformer2DModel(
        sample_size=16,
        in_channels=1,
        out_channels=1,
        patch_size=2,
        num_layers=4,
        num_attention_heads=2,
        attention_head_dim=6,
        num_embeds_ada_norm=10,
        norm_num_groups=4,
    )
    return model.eval()


@pytest.fixture(params=["unet", "dit"])
def tiny_model(request: pytest.FixtureRequest) -> nn.Module:
    model: nn.Module = request.getfixturevalue(f"tiny_{request.param}")
    return model


@pytest.fixture
def run() -> Run:
    """Run either model on a seeded batch, or on a `part` of it."""

    def forward(
        model: Any,
        batch: int = 3,
        timesteps: Tensor | float | None = None,
        size: tuple[int, int] | None = None,
        part: slice = slice(None),
        dtype: torch.dtype = torch.float32,
    ) -> Tensor:
        generator = torch.Generator().manual_seed(7)
        is_unet = hasattr(model, "down_blocks")
        height, width = size or ((8, 8) if is_unet else (16, 16))
        channels = 2 if is_unet else 1
        sample = torch.randn(batch, channels, height, width, generator=generator)[part].to(dtype)
        context = torch.randn(batch, 3, 6, generator=generator)[part].to(dtype)
        labels = torch.arange(batch)[part]
        times = (torch.arange(batch) * 300) if timesteps is None else timesteps
        if isinstance(times, Tensor) and times.ndim:
            times = times[part]
        with torch.no_grad():
            if is_unet:
                output: Tensor = model(sample, times, encoder_hidden_states=context).sample
            else:
                output = model(sample, timestep=times, class_labels=labels).sample
        return output

    return forward


@pytest.fixture(scope="session")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """pytorch-fid's network with seeded random weights: the published ones cannot be had here.

    It lies where torch hub would have put the published file, below a folder for TORCH_HOME.
    """

    from pytorch_fid import inception as pytorch_fid_inception  # noqa: PLC0415 - dear to import

    def leave(*_: Any, **__: Any) -> None:
        """Load nothing."""

    torch.manual_seed(0)
    with (
        patch.object(pytorch_fid_inception, "load_state_dict_from_url", lambda *_, **__: {}),
        patch.object(nn.Module, "load_state_dict", leave),
    ):
        network = pytorch_fid_inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # the default ones let activations vanish
    name = str(pytorch_fid_inception.FID_WEIGHTS_URL).rpartition("/")[2]
    path: Path = tmp_path_factory.mktemp("torch_home") / "hub" / "checkpoints" / name
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def program() -> Callable[..., str]:
    """Path of the first of these programs; without any the test is passed over, and says why.

    So it is if the program may not do here what `trial`, its arguments, ask for.
    """

    def find(*names: str, package: str, trial: Sequence[str] = ()) -> str:
        found = next(filter(None, map(shutil.which, names)), None)
        if found is None:
            pytest.skip(f"{names[0]} is not on PATH; on Debian: apt-get install {package}")
        if trial and subprocess.run([found, *trial], check=False, capture_output=True).returncode:
            pytest.skip(f"{names[0]} {' '.join(trial)}: not allowed on this machine")
        return found

    return find


@pytest.fixture
def small_document() -> Document:
    """Every kind of line, rank, mark and text once."""
    measured = Line(
        "measured",
        "L-GTM (BiGain)",
        (
            Cell("86.50 [82.80, 89.50]"),
            Cell("86.25 [82.53, 89.28]", "best", ("a",)),
            Cell("−0.25 [−2.32, +1.82]", "second", ("a", "b")),
            Cell("1.5e−05", "leading"),
        ),
    )
    cells = ("", "+1.96 ± 0.2", DASH, "41.2 %")
    lines = (
        measured,
        Line("comparison", "· minus the baseline", tuple(map(Cell, cells))),
        Line("paper", "· paper: SD-2.0, R&D_set #1", (*map(Cell, cells[:3]), Cell("lost"))),
        Line("measured", "[ToMe] with **strong** and `a_b`", (Cell(DASH),) * 4),
    )
    columns = ("baseline", "ratio 0.3", "α = 0.9", "2× at 64² tokens")
    return Document(
        number=4,
        title="Token merging: 70 % & more",
        summary="Profile `mini`: **another backbone**, ρ = σ²/µ².",
        panels=(
            Panel(
                *("Top-1 accuracy, % ↑", columns, lines),
                caption="n = 400 images.",
                remark="Not run: `x_y`.",
                explanation="With its <95 %> interval.",
            ),
            Panel("Only in the paper", ("x",), (Line("paper", "ToMe", (Cell("1"),)),)),
        ),
        setup=("Classification: seed 0.",),
        notes=("A note with a~tilde, a^hat, a \\backslash and {braces}.",),
        footnotes=(("a", "The paper prints “14.2 %”."), ("b", "Naïve, Šidák, Erdős.")),
        measured=(4, 8),
        legend=("**Bold**: best, *italic*: leading, __underlined__: second.",),
        command="python -m bigain table 4 --profile mini",
        commands=(
            "python -m bigain backbone=mini_unet operator=tome operator.ratio=0.3",
            "python -m bigain 'operator.alpha={type: linear, from: -1.5}' \"task.x=a b\"",
        ),
    )


@pytest.fixture
def wide_document() -> Document:
    """A rectangle that fits no page, nor in height: 14 columns, 90 lines, and long texts."""
    cells = tuple(Cell(f"{n}.25 [82.53, 89.28]") for n in range(13))
    kinds = (("measured", "Row"), ("comparison", "· minus"), ("paper", "· paper"))
    lines = [
        Line(kind, f"{label} {index}", (*cells, Cell("text of a formula " * 5)))  # type: ignore[arg-type]
        for index in range(30)
        for kind, label in kinds
    ]
    columns = tuple(f"column {n}" for n in range(14))
    panel = Panel("Wide and long", columns, tuple(lines), "Better: lower.")
    verdict = Line("measured", "A label of a sentence, " * 5, (Cell("supported"),))
    second = Panel("The paper's orderings", ("verdict",), (verdict,))
    return Document(12, "Everything", "", (panel, second))
