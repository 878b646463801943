"""Whether the file of an offline W&B run is whole: W&B is silent if its disk is full.

It is a log of records in blocks, in the format of LevelDB
(https://github.com/google/leveldb/blob/main/doc/log_format.md), after seven bytes that name W&B.
"""

import struct
from pathlib import Path

__all__ = ["is_whole"]

_FIRST, _BLOCK = 7, 32768
"""Bytes before the first record, and of a block; a record does not go beyond its block."""

_HEAD = struct.Struct("<IHB")
"""Before each record: checksum, length in bytes, kind."""

_ENDS = (1, 4)
"""Kinds of a record that is not continued in the next block."""


def is_whole(path: Path) -> bool:
    """Whether the file ends with the end of a record."""
    at, kind, size = _FIRST, 0, path.stat().st_size
    with path.open("rb") as file:
        while at + _HEAD.size <= size:
            left = _BLOCK - at % _BLOCK
            if left < _HEAD.size:  # too little for another record
                at += left
                continue
            file.seek(at)
            _, length, kind = _HEAD.unpack(file.read(_HEAD.size))
            at += _HEAD.size + length
    return at == size and kind in _ENDS
