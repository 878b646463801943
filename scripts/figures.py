"""The paper's figures: `scripts/figures.py 2 5` is `python -m bigain figures 2 5`."""

import sys

from bigain.cli.main import main

if __name__ == "__main__":
    sys.exit(main(["figures", *sys.argv[1:]]))
