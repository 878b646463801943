"""Write tiny pipelines in the hub's layout: `python scripts/make_tiny_pipelines.py FOLDER [NAME]`.

Each is FOLDER/NAME, a pipeline of every component with seeded random weights, for a dry run of all
that the published one would go through:

    python scripts/make_tiny_pipelines.py tiny sd20
    python -m bigain backbone=sd20 backbone.path=tiny/sd20 dataset=pets dataset.limit=20
"""

import sys
from pathlib import Path

from bigain.errors import UserError
from bigain.testing.backbones import LAYOUTS, save_tiny_pipeline


def main(arguments: list[str]) -> None:
    """Write the named pipelines, all by default."""
    if not arguments or arguments[0].startswith("-"):
        raise SystemExit(
            f"usage: make_tiny_pipelines.py FOLDER [NAME ...], of {', '.join(LAYOUTS)}"
        )
    for name in arguments[1:] or LAYOUTS:
        try:
            save_tiny_pipeline(name, Path(arguments[0]) / name)
        except UserError as error:
            raise SystemExit(str(error)) from error
        print(Path(arguments[0]) / name)


if __name__ == "__main__":
    main(sys.argv[1:])
