"""Our `bigain fid` beside the command of pytorch-fid, on two folders of shipped images.

`python benchmarks/frechet.py` starts both commands in turn, with the same random Inception weights
in the place of the published ones, which nobody downloads here.  The time is that of the whole
command, with its imports.  Ours also computes KID, precision and recall.  Both must give the same
distance.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from unittest import mock

import timing
import torch
from PIL import Image
from pytorch_fid import inception
from torch import nn

from bigain.data.fashion_mnist import FashionMNIST
from bigain.errors import in_one_line

__all__ = ["distance", "main"]

_TOLERANCE = 1e-3
_COMMANDS = {
    "pytorch-fid": (sys.executable, "-m", "pytorch_fid", "--device", "cpu"),
    "bigain fid": (sys.executable, "-m", "bigain", "fid", "--format", "json"),
}


def main() -> None:
    """Measure, print the ratio of the times, and write a CSV file if told so."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=timing.at_least(2), default=50, help="in each folder")
    parser.add_argument("--rounds", type=timing.positive, default=2)
    parser.add_argument("--threads", type=timing.positive, default=2)
    parser.add_argument("--csv", type=Path)
    options = parser.parse_args()
    place = {**timing.conditions(), "threads": options.threads}
    file = timing.RowFile(options.csv, place)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _write_weights(folder)
        folders = [_write_images(folder / each, options.images) for each in ("a", "b")]
        values: dict[str, float] = {}
        tasks = {
            tool: partial(_run, tool, folders, folder, options.threads, values)
            for tool in _COMMANDS
        }
        seconds = timing.interleaved(tasks, options.rounds, warmup=0)
    for tool, times in seconds.items():
        for number, each in enumerate(times):
            file.add(
                tool=tool,
                images=2 * options.images,
                round=number,
                seconds=round(each, 3),
                distance=round(values[tool], 4),
            )
    ratio = timing.spread(timing.ratios(seconds["bigain fid"], seconds["pytorch-fid"]))
    print(f"bigain fid takes {ratio} times as long as pytorch-fid; distances {values}")
    ours, theirs = values["bigain fid"], values["pytorch-fid"]
    if abs(ours - theirs) > _TOLERANCE * abs(theirs):
        raise SystemExit(f"the distances differ: {values}")


def distance(tool: str, output: str) -> float:
    """The distance that a tool prints."""
    if tool == "pytorch-fid":
        return float(output.rpartition("FID:")[2])
    metrics = json.loads(output)["metrics"]
    return float(next(each["value"] for each in metrics if each["metric"] == "fid"))


def _run(
    tool: str, folders: list[Path], home: Path, threads: int, values: dict[str, float]
) -> None:
    environment = {**os.environ, "TORCH_HOME": str(home), "OMP_NUM_THREADS": str(threads)}
    command = [*_COMMANDS[tool], *map(str, folders)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed: {done.stderr.strip().splitlines()[-1]}")
    values[tool] = distance(tool, done.stdout)


def _write_images(folder: Path, count: int) -> Path:
    """Images of the shipped test split, others for each folder."""
    folder.mkdir()
    data = FashionMNIST(limit=2 * count)
    begin = 0 if folder.name == "a" else count
    for position in range(begin, begin + count):
        Image.fromarray(data[position].image).save(folder / f"{position}.png")
    return folder


def _write_weights(home: Path) -> None:
    """Random weights where torch hub keeps the published ones below `home`."""
    torch.manual_seed(0)
    with (
        mock.patch.object(inception, "load_state_dict_from_url", return_value={}),
        mock.patch.object(nn.Module, "load_state_dict"),
    ):
        network = inception.fid_inception_v3()
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)  # else activations vanish
    path = home / "hub" / "checkpoints" / str(inception.FID_WEIGHTS_URL).rpartition("/")[2]
    path.parent.mkdir(parents=True)
    torch.save(network.state_dict(), path)


if __name__ == "__main__":
    sys.exit(in_one_line(main))
