"""Whether a safetensors file is whole, from its header alone.

The format: 8 bytes with the length N of the header, N bytes of JSON that give each tensor its
`data_offsets`, then the data.  So a download that broke off shows without reading the data.
"""

import json
from pathlib import Path

__all__ = ["damage"]

_LONGEST_HEADER = 100_000_000
"""The format's own limit."""


def damage(path: Path) -> str | None:
    """What is wrong with the file at `path`, in a few words; None if it can be whole."""
    with path.open("rb") as handle:
        size = path.stat().st_size
        start = handle.read(8)
        if start == b"version ":
            return "is a pointer of Git LFS; `git lfs pull` in its folder fetches the weights"
        length = int.from_bytes(start, "little")
        if len(start) < 8 or length > min(size - 8, _LONGEST_HEADER):
            return "is cut short, or no safetensors file"
        try:
            header = json.loads(handle.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[:2] != "__"]
        except (ValueError, KeyError, TypeError, AttributeError):
            return "is no safetensors file"
    expected = 8 + length + max(ends, default=0)
    return None if size == expected else f"has {size} bytes instead of {expected}"
