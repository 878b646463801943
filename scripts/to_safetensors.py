"""Convert the pickled weights of a local pipeline: `python scripts/to_safetensors.py FOLDER`.

FOLDER is a copy in the hub's layout (`hf download facebook/DiT-XL-2-512 --local-dir FOLDER`).  Only
tensors are read, no code is run; the originals stay.
"""

import sys
from pathlib import Path

from bigain.backbones.loading import convert_folder
from bigain.errors import UserError


def main(arguments: list[str]) -> None:
    """Convert one folder; ends with a sentence if there is nothing to convert."""
    if len(arguments) != 1 or arguments[0].startswith("-"):
        raise SystemExit("usage: to_safetensors.py FOLDER")
    try:
        written = convert_folder(Path(arguments[0]))
    except UserError as error:
        raise SystemExit(str(error)) from error
    for path in written:
        print(f"{path}  {path.stat().st_size} bytes")
    print(f"{len(written)} files converted")


if __name__ == "__main__":
    main(sys.argv[1:])
