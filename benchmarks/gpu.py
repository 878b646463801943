"""What only a GPU can show, in at most eight minutes, without weights and without a network.

`python benchmarks/gpu.py` (`make gpu-check`) runs these parts, each in a process of its own with a
limit of time, and each writes `results/gpu/PART.csv` row by row, in the place of an older one, so a
part that ends early loses only what it had not measured yet:

    correct     the mini backbones against the committed records; precisions, batch sizes, memory
                that runs out, compiled code
    tables      Tables 11 and 18: every operator in SD-2.0 and DiT-XL/2-512 at full size, random
                weights, float16, batch 4, 50 steps, fused and plain attention
    throughput  the classifier's images per second at full size, batches doubled until memory ends
    profile     the five largest costs of a step

Every row has the card, its driver and the commit; `device.json` has them of the last start, with
the versions and whether TF32 is allowed.  Exit code: 0 everything was measured and every check
holds, 1 something failed or was skipped, 2 wrong arguments, 3 there is no CUDA device, and nothing
was written.  `--tiny` puts mini models in the place of the large ones; with `--device cpu` it tries
the script without a GPU.
"""

import argparse
import json
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gpu_correct
import gpu_speed
import gpu_throughput
import torch
from gpu_plan import FULL, TINY, Deadline, Plan
from timing import ROOT, RowFile, conditions

from bigain.devices import device_name, resolve_device
from bigain.errors import UserError
from bigain.machine import command_output
from bigain.runs.files import make_results
from bigain.runs.provenance import package_versions

__all__ = ["PARTS", "main"]

WRONG_ARGUMENTS = 2
NO_DEVICE = 3

Measure = Callable[[Plan, RowFile, Deadline], bool]

PARTS: dict[str, tuple[Measure, int]] = {
    "correct": (gpu_correct.correct, 110),
    "tables": (gpu_speed.tables, 230),
    "throughput": (gpu_throughput.throughput, 90),
    "profile": (gpu_speed.profile, 40),
}
"""Part -> what measures it, and its limit in s: 470 s together."""

_STARTED = 0.85
"""Share of the limit after which a part begins nothing new."""


def main(argv: list[str] | None = None) -> int:
    """Run the parts; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", help="cuda, cuda:N, or cpu (to try it)")
    parser.add_argument("--tiny", action="store_true", help="mini models, few steps")
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--results", type=Path, default=ROOT / "results" / "gpu")
    parser.add_argument("--here", choices=list(PARTS), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if not re.fullmatch(r"cpu|cuda(:\d+)?", options.device):
        return _refuse(f"--device {options.device}: allowed: cuda, cuda:N, cpu")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        print("gpu-check: no CUDA device here; nothing was measured or written")
        return NO_DEVICE
    try:
        device = _with_index(resolve_device(options.device))
    except UserError as error:
        return _refuse(str(error))
    if options.here:
        return _measure(options.here, device, options.tiny, options.results)
    try:
        make_results(options.results, "--results")
    except UserError as error:
        return _refuse(str(error))
    text = json.dumps(_about(device), indent=2) + "\n"
    (options.results / "device.json").write_text(text, encoding="utf-8")
    codes = [_run(name, options) for name in options.only]
    return int(any(codes))


def _refuse(message: str) -> int:
    print(f"gpu-check: {message}", file=sys.stderr)
    return WRONG_ARGUMENTS


def _with_index(device: torch.device) -> torch.device:
    """The device with its number, which some functions of torch need."""
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device


def _measure(name: str, device: torch.device, is_tiny: bool, results: Path) -> int:
    """One part in this process; 1 if it did not measure everything or a check does not hold."""
    measure, limit = PARTS[name]
    plan = (TINY if is_tiny else FULL)._replace(device=device)
    path = results / f"{name}.csv"
    path.unlink(missing_ok=True)
    file = RowFile(path, {**conditions(device_name(device)), "driver": _driver(device)})
    return 0 if measure(plan, file, Deadline(_STARTED * limit)) else 1


def _run(name: str, options: argparse.Namespace) -> int:
    """One part in a process of its own."""
    limit = PARTS[name][1]
    command = [sys.executable, __file__, "--here", name, "--device", options.device]
    command += ["--results", str(options.results), *(["--tiny"] if options.tiny else [])]
    started = time.monotonic()
    try:
        code = subprocess.run(command, cwd=ROOT, timeout=limit, check=False).returncode
        end = {0: "done", 1: "FAILED"}.get(code, f"FAILED, code {code}")
    except subprocess.TimeoutExpired:
        code, end = 1, f"out of time after {limit} s; its rows so far are written"
    print(f"{name}: {end}, {time.monotonic() - started:.0f} s\n", flush=True)
    return code


def _about(device: torch.device) -> dict[str, Any]:
    """The card, its driver, versions, the commit."""
    is_cuda = device.type == "cuda"
    backends = torch.backends
    return {
        **conditions(device_name(device)),
        "driver": _driver(device),
        "cuda": torch.version.cuda if is_cuda else None,
        "capability": list(torch.cuda.get_device_capability(device)) if is_cuda else None,
        "memory_bytes": torch.cuda.get_device_properties(device).total_memory if is_cuda else None,
        "allow_tf32": {
            "cuda.matmul": backends.cuda.matmul.allow_tf32,
            "cudnn": backends.cudnn.allow_tf32,
        },
        "python": platform.python_version(),
        "packages": package_versions(),
    }


def _driver(device: torch.device) -> str | None:
    """Version of the driver of NVIDIA's cards, which is one for all of a machine."""
    if device.type != "cuda":
        return None
    query = ("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    return (command_output(*query) or "unknown").split()[0]


if __name__ == "__main__":
    sys.exit(main())
