"""Write tiny ImageNet, ImageNet-100, Pets and COCO, in their own layouts, to try a set-up with.

python scripts/make_tiny_datasets.py data/tiny
BIGAIN_DATA=data/tiny python -m bigain dataset=pets dataset.limit=37 ...
"""

import argparse
import sys
from pathlib import Path

from bigain.errors import in_one_line
from bigain.testing.datasets import TINY, write_tiny


def main() -> None:
    """Write all of them, or those that are named."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("root", type=Path, help="folder to write to, for dataset.root")
    parser.add_argument("--dataset", action="append", choices=list(TINY), help="default: all")
    arguments = parser.parse_args()
    for name in arguments.dataset or TINY:
        count = write_tiny(name, arguments.root)
        print(f"{name}: {count} images, one of them cut short; use dataset.limit={count} or less")


if __name__ == "__main__":
    sys.exit(in_one_line(main))
