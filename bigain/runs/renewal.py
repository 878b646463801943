"""Making a run again: what `force=true` deletes, and which shards have begun since.

The first forced shard deletes the records of all shards, so that no run is made of old and new
ones.  Forced shards that begin later, before the run is done, belong to the same renewal: they
delete only what they have written themselves.  `.forced` in the run's folder lists the shards that
have begun since; it is `null` as long as files are to be deleted, and gone when the run is done.
"""

import json
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from bigain.errors import UserError
from bigain.files import parse_json, replace_text
from bigain.runs.beats import lives_here, read_beat
from bigain.runs.errors import ERRORS
from bigain.runs.features import FEATURES, REFERENCE
from bigain.runs.files import MANIFEST, METRICS, SAMPLES
from bigain.runs.journal import journal_name, journal_paths, shard_of
from bigain.runs.leases import HeldError, wait_for_silence
from bigain.runs.provenance import differing

__all__ = ["Renewal"]

Shard = tuple[int, int]


class Renewal:
    """The renewal of the run in `folder`, if there is one.  Callers hold the folder's lock."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / ".forced"

    @property
    def is_going_on(self) -> bool:
        """Whether the run was forced and is not done since."""
        return self._path.exists()

    @property
    def is_due(self) -> bool:
        """Whether the old files are still to be deleted, by whoever opens the run next."""
        return self.is_going_on and self.begun() is None

    def begun(self) -> set[Shard] | None:
        """The shards, as (index, count), that have begun since; None if nothing tells."""
        try:
            found = parse_json(self._path.read_bytes())
        except (OSError, ValueError):
            return None
        return {(int(i), int(n)) for i, n in found} if isinstance(found, list) else None

    def covers(
        self,
        own: Shard,
        manifest: Mapping[str, Any],
        hashes: Mapping[str, str] | None,
        at_work: Set[Shard],
    ) -> bool:
        """Whether a forced shard finds the old records of the others gone already.

        If it has begun since, it is forced again; then only shards at work show that the others
        are not meant.

        Args:
            own: The shard.
            manifest: The manifest of the run as it is.
            hashes: Of the weights and data that the shard will use, if known.
            at_work: The shards with a process that has begun.

        """
        begun, before = self.begun(), manifest.get("hashes")
        if begun is None or manifest.get("status") == "done":
            return False
        if any(count != own[1] for _, count in begun):
            return False
        if before and hashes and differing(before, hashes):
            return False
        return own not in begun or bool(at_work & begun - {own})

    def announce(self, own: Shard | None = None) -> None:
        """Have the old files deleted.

        Args:
            own: The shard of this process.

        Raises:
            UserError: Another process is at work on the run.

        """
        for path in sorted(self._folder.glob(".journal-*of*.beat")):
            if shard_of(path.name) != own:
                self._refuse_work(path)
        self._write(None)

    def start(self, own: Shard) -> None:
        """Delete the records, manifest and tables of the run; images stay until written over.

        Raises:
            UserError: As `announce`.

        """
        self.announce(own)
        for name in (MANIFEST, SAMPLES, ERRORS, FEATURES, REFERENCE, METRICS):
            (self._folder / name).unlink(missing_ok=True)
        for path in journal_paths(self._folder):
            path.unlink(missing_ok=True)
        self._write(set())

    def restart(self, shard: Shard) -> None:
        """Delete the records of one shard."""
        (self._folder / journal_name(*shard)).unlink(missing_ok=True)

    def note(self, shard: Shard) -> None:
        """Note that a shard begins; nothing if the run was not forced."""
        begun = self.begun()
        if begun is not None and shard not in begun:
            self._write(begun | {shard})

    def end(self) -> None:
        """The run is done."""
        self._path.unlink(missing_ok=True)

    def _refuse_work(self, path: Path) -> None:
        """Raise UserError if the process of this beat has opened files of the run."""
        beat = read_beat(path)
        if beat is None or not beat.get("begun"):
            return  # it waits for the folder's lock
        try:
            dead = wait_for_silence(path)
            if dead is not None and dead["birth"] and lives_here(dead):  # it is only suspended
                raise HeldError(dead)
        except HeldError as error:
            index, count = shard_of(path.name)
            raise UserError(
                f"force=true: run {self._folder.name} is at work on shard {index} of {count} "
                f"({error.place}); allowed: wait for it, or force=false, which deletes nothing"
            ) from None

    def _write(self, begun: set[Shard] | None) -> None:
        replace_text(self._path, json.dumps(None if begun is None else sorted(begun)) + "\n")
