"""Make trained weights the ones that ship: `python scripts/ship_mini.py mini_unet [FOLDER]`.

Copies `model.safetensors` and `curve.csv` of a training run (default `training/<name>`) into the
package and writes the new revision into `configs/backbone/<name>.yaml`.  Results of the old weights
keep their run ids, which the new revision never gives again.
"""

import re
import sys
from functools import partial
from pathlib import Path
from shutil import copyfile

from bigain.backbones.weight_files import weights_path
from bigain.errors import in_one_line
from bigain.files import file_sha256, replace_file, replace_text
from bigain.locations import CONFIGS

REVISION = re.compile(r'^revision: "[0-9a-f]{12}"', re.MULTILINE)


def main(arguments: list[str]) -> None:
    """Ship one backbone; ends with a sentence if there is nothing to ship."""
    if not 1 <= len(arguments) <= 2:
        raise SystemExit("usage: ship_mini.py mini_unet|mini_dit [FOLDER]")
    name = arguments[0]
    folder = Path(arguments[1] if arguments[1:] else f"training/{name}")
    target = weights_path(name)
    config = CONFIGS / "backbone" / f"{name}.yaml"
    for needed in (folder / "model.safetensors", folder / "curve.csv", config):
        if not needed.is_file():
            raise SystemExit(f"{needed} is missing: is the training of {name} finished?")
    for file in (target.name, "curve.csv"):
        replace_file(target.with_name(file), partial(copyfile, folder / file))
    revision = file_sha256(target)[:12]
    text, count = REVISION.subn(f'revision: "{revision}"', config.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"{config} has no line with a revision")
    replace_text(config, text)
    print(f"{name}: revision {revision}, {target.stat().st_size} bytes")


if __name__ == "__main__":
    sys.exit(in_one_line(partial(main, sys.argv[1:])))
