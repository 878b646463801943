"""Write the slice of Fashion-MNIST that ships: the first 1,000 test images of the fixed order."""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from bigain.data.fashion_mnist import SLICE_SIZE, find_root, ordered_test_split
from bigain.errors import in_one_line
from bigain.files import replace_file

TARGET = Path(__file__).parent.parent / "bigain" / "assets" / "fashion_mnist_test_1000.safetensors"


def main() -> None:
    """Read the full test split and replace the shipped file."""
    root = find_root()
    if root is None:
        raise SystemExit("no full Fashion-MNIST found: install dataset-fashion-mnist first")
    ids, labels, images = (np.ascontiguousarray(a[:SLICE_SIZE]) for a in ordered_test_split(root))
    arrays = {"image_ids": ids, "labels": labels, "images": images}
    replace_file(TARGET, lambda temporary: save_file(arrays, temporary))
    print(f"wrote {TARGET} ({TARGET.stat().st_size} bytes)")


if __name__ == "__main__":
    sys.exit(in_one_line(main))
