"""The folder of a run: who may write, what is done already, when it is finished.

    store = RunStore(results, run_id(config))
    with store.open(config, image_ids, provenance) as session:
        session.adopt()
        for image_id in session.todo():
            session.append(record_of(image_id))
        session.finish(conclude)

Life of a run: absent -> running -> done, or failed; opened again, it goes on where it stopped.
A process may be killed at any moment: its journal keeps every record that was appended.
Two locks: one per shard, held while a session is open (a second process is refused at once), and
one per folder, held for the moments in which shared files change (a second process waits).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from bigain.errors import UserError
from bigain.runs.files import (
    MANIFEST,
    METRICS,
    SAMPLES,
    read_manifest,
    write_config,
    write_manifest,
)
from bigain.runs.identity import Config, baseline_id, describing_columns, family_id, resolved
from bigain.runs.provenance import now
from bigain.runs.session import Journal, RunSession, journal_name, journal_paths

__all__ = ["SCHEMA_VERSION", "AnotherRunError", "RunStore", "damaged_runs", "run_folders"]

SCHEMA_VERSION = 1
"""Of manifest.json and its neighbours; raised when a reader of old folders would be misled."""

_PATIENCE = 0.2
"""Seconds to try for the lock of a shard: far more than `RunStore.is_open` may hold it."""


class AnotherRunError(UserError):
    """The folder of a run holds another one."""


def run_folders(results: Path) -> list[Path]:
    """Folders of all runs that have a manifest, by run id."""
    return sorted(path.parent for path in (results / "runs").glob("*/manifest.json"))


def damaged_runs(results: Path) -> dict[str, str]:
    """Run id -> what is wrong with its manifest, in one line, where nobody can read it."""
    found = ((folder.name, _damage(folder)) for folder in run_folders(results))
    return {name: damage for name, damage in found if damage is not None}


class RunStore:
    """The run `run_id` under `<results>/runs/`."""

    def __init__(self, results: Path, run_id: str) -> None:
        self.run_id = run_id
        self.folder = results / "runs" / run_id

    def manifest(self) -> dict[str, Any]:
        """The manifest as it is now, {} before the run was ever opened.

        Raises:
            UserError: It is damaged, or is that of another run.

        """
        manifest = read_manifest(self.folder) or {}
        if manifest and manifest["run_id"] != self.run_id:
            raise AnotherRunError(
                f"{self.folder / MANIFEST}: is of run {manifest['run_id']}: two runs claim one "
                "cell; remove the folder, or put back what was in it"
            )
        return manifest

    def status(self) -> str:
        """absent, running, failed, done or damaged.  A killed run still says running."""
        try:
            return str(self.manifest().get("status", "absent"))
        except UserError:
            return "damaged"

    def is_finished(self) -> bool:
        """Whether samples.csv and metrics.csv are there and complete.

        Raises:
            UserError: The folder holds another run, so that none can tell which of them counts.

        """
        try:
            return self.manifest().get("status") == "done"
        except AnotherRunError:
            raise
        except UserError:
            return False

    def is_open(self) -> bool:
        """Whether a process works on one of the shards at this moment; never waits."""
        return any(map(_is_held, self.folder.glob(".journal-*of*.lock")))

    def lock(self) -> FileLock:
        """The lock of the folder's shared files; waits."""
        self._make_folder()
        return FileLock(self.folder / ".run.lock")

    @contextmanager
    def open(
        self, config: Config, image_ids: Sequence[int], provenance: Mapping[str, Any]
    ) -> Iterator[RunSession]:
        """Work on the shard `config.shard` of the run over `image_ids`, given in dataset order.

        With `config.force` the results are discarded first, and of the journals all that this
        shard computes again: its own and those of other shard counts, but not those of its
        sisters, which discard their own.  An exception inside marks the run as failed.

        Args:
            config: The configuration whose run id this store has.
            image_ids: All images of the run, whatever the shard; unique.
            provenance: What `bigain.runs.provenance.collect` returned.

        Raises:
            UserError: Another process works on the same shard, the run was begun with other data or
                weights, or its manifest or a journal is damaged.
            ValueError: Image ids repeat, or there are none.

        """
        if len(set(image_ids)) != len(image_ids) or not image_ids:
            raise ValueError("image ids must be unique and at least one")
        plain = resolved(config)
        force = bool(plain.get("force"))
        shard = plain.get("shard") or {"index": 0, "count": 1}
        path = self.folder / journal_name(shard["index"], shard["count"])
        self._make_folder()
        with ExitStack() as held:
            held.enter_context(self._shard_lock(path))
            with self.lock():
                if force:
                    self._discard(path, shard["count"])
                if self.manifest().get("status") != "done":
                    self._begin(config, plain, provenance, len(image_ids))
            journal = held.enter_context(Journal(path))
            own = image_ids[shard["index"] :: shard["count"]]
            session = RunSession(
                self.folder, self.lock(), journal, image_ids, own, may_adopt=not force
            )
            try:
                yield session
            except BaseException as error:
                session.fail(error)
                raise

    def _make_folder(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"paths.results={self.folder.parent.parent}: cannot make a folder there "
                f"({error.strerror}); allowed: a folder that you may write to"
            ) from None

    def _begin(
        self, config: Config, plain: dict[str, Any], provenance: Mapping[str, Any], n_images: int
    ) -> None:
        """Write manifest.json (running) and config.yaml.  The caller holds the folder's lock."""
        before = self.manifest()
        self._check_same_hashes(before.get("hashes"), provenance.get("hashes"))
        write_config(self.folder, plain)
        write_manifest(
            self.folder,
            {
                "schema_version": SCHEMA_VERSION,
                "run_id": self.run_id,
                "family_id": family_id(config),
                "baseline_id": baseline_id(config),
                "status": "running",
                "error": None,
                "columns": describing_columns(config),
                "config": plain,
                **{key: plain.get(key) for key in ("seed", "device", "dtype", "threads")},
                **provenance,
                "n_images": n_images,
                "started": before.get("started", now()),
                "finished": None,
                "wall_seconds": before.get("wall_seconds", 0.0),
                "image_seconds": None,
                "adopted_from": [],
                "shards": before.get("shards", {}),
            },
        )

    def _check_same_hashes(
        self, before: Mapping[str, str] | None, present: Mapping[str, str] | None
    ) -> None:
        """Records of two sets of weights or data must not meet in one run."""
        if not before or not present or before == present:
            return
        names = sorted(before.keys() | present.keys())
        differ = [name for name in names if before.get(name) != present.get(name)]
        raise UserError(
            f"run_id={self.run_id}: was begun with another {' and another '.join(differ)}; "
            "put back what it was begun with, or do it again with force=true"
        )

    def _discard(self, own: Path, count: int) -> None:
        """Make the run as if this shard had never computed anything; all of it, or nothing."""
        sisters = {journal_name(index, count) for index in range(count)} - {own.name}
        journals = [path for path in journal_paths(self.folder) if path.name not in sisters]
        with ExitStack() as held:
            for path in journals:
                if path != own:
                    held.enter_context(self._shard_lock(path))
            for path in journals:
                path.unlink()
            for name in (MANIFEST, SAMPLES, METRICS):
                (self.folder / name).unlink(missing_ok=True)

    @contextmanager
    def _shard_lock(self, journal: Path) -> Iterator[None]:
        lock = FileLock(self.folder / f".{journal.stem}.lock", timeout=_PATIENCE)
        try:
            lock.acquire()
        except Timeout:
            shard = journal.stem.partition("-")[2].replace("of", " of ")
            raise UserError(
                f"run_id={self.run_id}: another process is working on its shard {shard}; "
                "wait for it, or take another shard.index"
            ) from None
        try:
            yield
        finally:
            lock.release()


def _damage(folder: Path) -> str | None:
    try:
        RunStore(folder.parents[1], folder.name).manifest()
    except UserError as error:
        return str(error)
    return None


def _is_held(path: Path) -> bool:
    """Whether somebody holds this lock file; what cannot be tried counts as held."""
    try:
        with FileLock(path, timeout=0):
            return False
    except (Timeout, OSError):
        return True
