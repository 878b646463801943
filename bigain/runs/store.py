"""The folder of a run: its state, and the locks of those who write to it.

    store = RunStore(results, run_id(config))
    with store.open(config, image_ids, provenance) as session:
        session.adopt()
        for image_id in session.todo():
            session.append(record_of(image_id))
        session.finish(evaluate)

A run is absent, then running, then done or failed.  A run that failed or was killed continues where
it stopped when it is opened again, because its journal has every record that was appended.

There are two leases (`bigain.runs.leases`).  Each shard has one, held while its session is open: a
second process gets an error.  Each folder has one, held while shared files change: a second process
waits.  Journals are read after the lease is taken, so what the last holder wrote is seen.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from bigain.errors import UserError
from bigain.runs.beats import Beat, Heartbeat, is_alive, read_beat
from bigain.runs.calibrations import baseline_calibration
from bigain.runs.files import MANIFEST, read_manifest, write_config, write_manifest
from bigain.runs.identity import Config, baseline_id, describing_columns, family_id, resolved
from bigain.runs.images_done import ImagesDone
from bigain.runs.journal import Journal, journal_name, shard_of
from bigain.runs.leases import HeldError, Lease, wait_for_silence
from bigain.runs.progress import ShardProgress
from bigain.runs.provenance import differing, now
from bigain.runs.renewal import Renewal
from bigain.runs.session import RunSession

__all__ = ["SCHEMA_VERSION", "AnotherRunError", "RunStore", "damaged_runs", "run_folders"]

SCHEMA_VERSION = 1
"""Version of the files of a run; increased when readers would misunderstand older files."""


class AnotherRunError(UserError):
    """The folder of a run contains another run."""


def run_folders(results: Path) -> list[Path]:
    """The folders of all runs that have a manifest, sorted by run id."""
    return sorted(path.parent for path in (results / "runs").glob("*/manifest.json"))


def damaged_runs(results: Path) -> dict[str, str]:
    """Run id -> why its manifest cannot be read, in one line; only runs with such a manifest."""
    found = ((folder.name, _damage(folder)) for folder in run_folders(results))
    return {name: damage for name, damage in found if damage is not None}


class RunStore:
    """The run `run_id` in `<results>/runs/`."""

    def __init__(self, results: Path, run_id: str) -> None:
        self.run_id = run_id
        self.folder = results / "runs" / run_id

    def manifest(self) -> dict[str, Any]:
        """The manifest as it is now; {} if the run was never opened.

        Raises:
            UserError: It is damaged, or belongs to another run.

        """
        manifest = read_manifest(self.folder) or {}
        if manifest and manifest["run_id"] != self.run_id:
            raise AnotherRunError(
                f"{self.folder / MANIFEST}: is of run {manifest['run_id']}: two runs claim one "
                "cell; remove the folder, or restore its content"
            )
        return manifest

    def status(self) -> str:
        """absent, running, failed, done or damaged.  A killed run is still called running."""
        try:
            return str(self.manifest().get("status", "absent"))
        except UserError:
            return "damaged"

    def is_finished(self) -> bool:
        """Whether the run is done, so that samples.csv and metrics.csv are complete, and to stay.

        Raises:
            AnotherRunError: The folder contains another run.

        """
        try:
            is_done = self.manifest().get("status") == "done"
            return is_done and not Renewal(self.folder).is_due
        except AnotherRunError:
            raise
        except UserError:
            return False

    def beats(self, clock: float | None = None) -> dict[tuple[int, int], Beat]:
        """(index, count) of each shard that a process works on now -> what its beat says.

        Args:
            clock: What `bigain.runs.beats.file_clock` returned for the results; saves time.

        """
        paths = sorted(self.folder.glob(".journal-*of*.beat"))
        alive = {shard_of(path.name): read_beat(path) for path in paths if is_alive(path, clock)}
        return {shard: beat for shard, beat in alive.items() if beat is not None}

    def lock(self) -> Lease:
        """The lease of the shared files in the folder; entering it waits."""
        self._make_folder()
        return Lease(self.folder, "run", waits=True)

    def keep_stamps(self, stamps: Mapping[str, str]) -> None:
        """Write the stamps of what the finished run was made from, where the folder allows it."""
        if self.manifest().get("stamps") == stamps:
            return
        with suppress(OSError, UserError), self.lock():
            manifest = self.manifest()
            if manifest.get("status") == "done":
                write_manifest(self.folder, {**manifest, "stamps": dict(stamps)})

    @contextmanager
    def open(
        self, config: Config, image_ids: Sequence[int], provenance: Mapping[str, Any]
    ) -> Iterator[RunSession]:
        """Work on the shard `config.shard` of the run over `image_ids`, given in dataset order.

        With `config.force` what the run has computed is deleted first, of all shards; or of this
        shard alone if others have begun since the run was forced (`bigain.runs.renewal`).  An
        exception in the block marks the run as failed.

        Args:
            config: The configuration whose run id this store has.
            image_ids: The unique ids of all images of the run, not only of this shard.
            provenance: What `bigain.runs.provenance.collect` returned.

        Raises:
            UserError: Another process works on the same shard or, with force, on what would be
                deleted, the run was started with other data or weights, or its manifest or a
                journal is damaged.
            ValueError: Image ids repeat, or there are none.

        """
        images = ImagesDone(image_ids)
        plain = resolved(config)
        force = bool(plain.get("force"))
        shard = plain.get("shard") or {"index": 0, "count": 1}
        own = shard["index"], shard["count"]
        path, progress = self.folder / journal_name(*own), ShardProgress()
        self._make_folder()
        with ExitStack() as held:
            heart = held.enter_context(self._shard(own, progress))
            self._refuse_other_layouts(own)
            with self.lock():
                renewal = self._renew(own, provenance, force=force)
                if self.manifest().get("status") != "done":
                    self._begin(config, plain, provenance, len(image_ids))
                    renewal.note(own)
                may_adopt = not renewal.is_going_on
                progress.has_begun = True
                heart.beat()  # before the lock falls: who deletes looks who is at work
            journal = held.enter_context(Journal(path))
            session = RunSession(
                self.folder, self.lock(), journal, images, heart, may_adopt=may_adopt
            )
            progress.pace = session.pace
            heart.beat()
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
                "baseline_id": baseline_id(config, baseline_calibration(config)),
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
        """One run must not mix records of different weights or data."""
        differ = differing(before, present) if before and present else []
        if not differ:
            return
        raise UserError(
            f"run_id={self.run_id}: was started with another {' and another '.join(differ)}; "
            "restore what it was started with, or start it again with force=true"
        )

    def start_over(self) -> None:
        """Have the next session delete all that the run has computed; it adopts nothing.

        So nothing is lost if data or weights turn out to be missing.  The run is not finished from
        now on.  Generated images stay until they are written over.

        Raises:
            UserError: A process is at work on the run.

        """
        with self.lock():
            Renewal(self.folder).announce()

    def _renew(
        self, own: tuple[int, int], provenance: Mapping[str, Any], *, force: bool
    ) -> Renewal:
        """Delete what has to be; the caller holds the folder's lock."""
        renewal = Renewal(self.folder)
        with suppress(UserError):  # a damaged manifest is of no renewal
            begun = {shard for shard, beat in self.beats().items() if beat.get("begun")}
            if force and renewal.covers(own, self.manifest(), provenance.get("hashes"), begun):
                renewal.restart(own)
                return renewal
        if force or renewal.is_due:
            renewal.start(own)
        return renewal

    @contextmanager
    def _shard(
        self, shard: tuple[int, int], content: Callable[[], Mapping[str, Any]]
    ) -> Iterator[Heartbeat]:
        """The lease of a shard; UserError if another process has it."""
        name = Path(journal_name(*shard)).stem
        with ExitStack() as held:
            try:
                heart = held.enter_context(Lease(self.folder, name, content, waits=False))
            except HeldError as error:
                raise UserError(
                    f"run_id={self.run_id}: another process is working on its shard "
                    f"{_named(shard)} ({error.place}); wait for it, or use another shard.index"
                ) from None
            yield heart

    def _refuse_other_layouts(self, own: tuple[int, int]) -> None:
        """Raise UserError if a shard of another count is at work: both would do its images."""
        for path in sorted(self.folder.glob(".journal-*of*.beat")):
            shard = shard_of(path.name)
            if shard[1] == own[1]:
                continue
            try:
                wait_for_silence(path)
            except HeldError as error:
                raise UserError(
                    f"shard.count={own[1]}: shard {_named(shard)} of run {self.run_id} is at work "
                    f"({error.place}); this is {_named(own)}; allowed: wait until all shards of "
                    f"{shard[1]} have stopped, or shard.count={shard[1]}"
                ) from None


def _named(shard: tuple[int, int]) -> str:
    return f"{shard[0]} of {shard[1]}"


def _damage(folder: Path) -> str | None:
    try:
        RunStore(folder.parents[1], folder.name).manifest()
    except UserError as error:
        return str(error)
    return None
