import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from bigain.backbones.weight_files import damage


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.zeros(3, 4), "b": torch.ones(5)}, path, metadata={"format": "pt"})
    return path


def test_a_whole_file_is_whole(weights: Path) -> None:
    assert damage(weights) is None


def test_a_file_without_tensors_is_whole(tmp_path: Path) -> None:
    save_file({}, tmp_path / "empty.safetensors")
    assert damage(tmp_path / "empty.safetensors") is None


@pytest.mark.parametrize("lost", [1, 40])
def test_a_file_that_lacks_its_end_is_told_with_both_sizes(weights: Path, lost: int) -> None:
    content = weights.read_bytes()
    weights.write_bytes(content[:-lost])
    assert damage(weights) == f"has {len(content) - lost} bytes instead of {len(content)}"


def test_a_file_that_goes_on_is_told(weights: Path) -> None:
    size = weights.stat().st_size
    weights.write_bytes(weights.read_bytes() + b"more")
    assert damage(weights) == f"has {size + 4} bytes instead of {size}"


@pytest.mark.parametrize("kept", [0, 5, 8, 30])
def test_a_file_without_its_whole_header_is_cut_short(weights: Path, kept: int) -> None:
    weights.write_bytes(weights.read_bytes()[:kept])
    assert damage(weights) == "is cut short, or no safetensors file"


def test_a_pointer_of_git_lfs_is_recognised(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    assert damage(path) == (
        "is a pointer of Git LFS; `git lfs pull` in its folder fetches the weights"
    )


@pytest.mark.parametrize(
    "header",
    [b"no json", b"[]", json.dumps({"a": {"dtype": "F32"}}).encode(), b'{"a": 1}', b"\xff\xfe"],
)
def test_another_format_is_recognised(header: bytes, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(20))
    assert damage(path) == "is no safetensors file"
