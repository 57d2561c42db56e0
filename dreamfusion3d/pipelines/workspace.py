"""One run's folder: which it is, whether it is done, and that only one process works in it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dreamfusion3d.core import config as configs
from dreamfusion3d.core import files
from dreamfusion3d.core.errors import InputError, LockedError
from dreamfusion3d.core.runtime import is_process_alive
from dreamfusion3d.core.slug import append_hash, hash_text, slugify

MIN_FREE_BYTES = 64 << 20  # bytes: checkpoints, stage results and the asset of the largest quality
# Errors that the person at the keyboard can mend, as opposed to ours.
USER_FIXABLE_ERRNOS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "EFBIG", "ENAMETOOLONG")
    if hasattr(errno, name)
)
LOCK_WRITE_TIMEOUT_SECONDS = 10.0  # a lock that is empty for longer was never finished
_held_locks: set[Path] = set()  # locks that this process holds


@dataclass(frozen=True)
class Source:
    """The mesh or the photos that the user brought, and what for."""

    use: str  # "init", "retexture" or "fit"
    file: str
    sha256: str

    @staticmethod
    def from_file(use: str, path: Path | str) -> Source:
        return Source(use, Path(path).name, files.file_sha256(Path(path)))

    @property
    def key(self) -> list[str]:
        """What decides the bytes: not the file's name."""
        return [self.use, self.sha256]


@dataclass(frozen=True)
class PromptEdit:
    """From ``step`` (1-based) of ``stage`` on, and in later stages, ``prompt`` was asked."""

    stage: str
    step: int
    prompt: str

    @property
    def key(self) -> tuple[str, int, str]:
        return self.stage, self.step, self.prompt


@dataclass(frozen=True)
class RunIdentity:
    """What decides every byte of an asset but the names in it: two equal identities are one run."""

    prompt: str
    seed: int
    config: configs.Config
    prior_sha256: str
    source: Source | None = None
    edits: tuple[PromptEdit, ...] = ()  # known when the run is done: one with any is no longer what was asked for

    @property
    def digest(self) -> str:
        key = [*(self.source.key if self.source else []), *(list(e.key) for e in self.edits)]
        return _identity_digest(self.prompt, self.seed, configs.config_to_dict(self.config), self.prior_sha256, key)


@dataclass(frozen=True)
class Workspace:
    """OUT/<slug>/ and the names within it."""

    folder: Path

    @property
    def slug(self) -> str:
        return self.folder.name

    @property
    def work(self) -> Path:
        return self.folder / "work"

    @property
    def record_path(self) -> Path:
        return self.folder / "asset.json"

    @property
    def run_info_path(self) -> Path:
        """Says whose work this is while there is no report."""
        return self.work / "run.json"

    def asset_path(self, suffix: str) -> Path:
        return self.folder / f"{self.slug}.{suffix}"

    def owner_digest(self) -> str | None:
        """The digest of the run that this folder holds or began; None when it is free."""
        unreadable = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
        with contextlib.suppress(*unreadable):
            return _record_digest(json.loads(self.record_path.read_text(encoding="utf-8")))
        with contextlib.suppress(*unreadable):
            return str(json.loads(self.run_info_path.read_text(encoding="utf-8"))["digest"])
        return None

    def finished_record(self, identity: RunIdentity) -> dict[str, Any] | None:
        """The report, when this very run is done and its files are still as they were written."""
        try:
            record = json.loads(self.record_path.read_text(encoding="utf-8"))
            if _record_digest(record) != identity.digest:
                return None
            for name, entry in record["files"].items():
                if files.file_sha256(self.folder / name) != entry["sha256"]:
                    return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return record

    def begin(self, identity: RunIdentity, fresh: bool) -> None:
        """Takes the folder for this run; stage results of another run or version go."""
        # the report first: from here on the folder does not look finished
        self.record_path.unlink(missing_ok=True)
        run_info = {"digest": identity.digest, "version": version("dreamfusion3d"), "prompt": identity.prompt}
        same = False
        with contextlib.suppress(OSError, ValueError, RecursionError):
            same = json.loads(self.run_info_path.read_text(encoding="utf-8")) == run_info
        if self.work.exists() and (fresh or not same):
            shutil.rmtree(self.work)
        for folder in (self.folder, self.work):
            files.remove_temporary_files(folder)
        files.write_json(self.run_info_path, run_info)


def _identity_digest(prompt: str, seed: int, config: dict[str, Any], prior_sha256: str, extra: list[Any]) -> str:
    return hash_text(json.dumps([prompt, seed, config, prior_sha256, *extra], sort_keys=True), length=64)


def _record_digest(record: dict[str, Any]) -> str:
    source = record.get("source")
    key = [source["use"], source["sha256"]] if source else []
    key += [[edit["stage"], edit["step"], edit["prompt"]] for edit in record.get("edits", [])]
    return _identity_digest(record["prompt"], record["seed"], record["config"], record["prior"]["sha256"], key)


@contextlib.contextmanager
def claim_workspace(out: Path, identity: RunIdentity, folder: str | None = None) -> Iterator[Workspace]:
    """The locked folder of this run: OUT/<slug>, or OUT/<slug>_<hash> when another run has that name
    (this one under edited prompts is another).

    With ``folder`` (a slug) it is OUT/<folder>, whatever run had it before.
    """
    if folder is not None:
        with folder_lock(out / folder):
            yield Workspace(out / folder)
        return
    name = slugify(identity.prompt)
    for number in itertools.count():
        digest = identity.digest if number < 2 else hash_text(f"{identity.digest} {number}", length=64)
        workspace = Workspace(out / (append_hash(name, digest) if number else name))
        if workspace.owner_digest() in (None, identity.digest):
            with folder_lock(workspace.folder):
                # asked again under the lock: the name may have been taken meanwhile
                if workspace.owner_digest() in (None, identity.digest):
                    yield workspace
                    return


@contextlib.contextmanager
def translate_folder_errors(out: Path) -> Iterator[None]:
    """Turns errors of the file system that the user can mend into one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in USER_FIXABLE_ERRNOS:
            raise
        raise InputError(
            f"cannot write to {error.filename or out}: {error.strerror}. "
            "Make room or choose another folder with --out; the same command then goes on where it stopped"
        ) from error


def check_free_space(out: Path) -> None:
    """Raises InputError when ``out`` cannot be made or its disk is as good as full."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise InputError(f"cannot make the folder {out}: {reason}. Choose another with --out") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to the folder {out}: permission denied. Choose another with --out")
    free = shutil.disk_usage(out).free
    if free < MIN_FREE_BYTES:
        raise InputError(
            f"the disk of {out} has {free / 2**20:.0f} MB left; a run needs {MIN_FREE_BYTES >> 20} MB. "
            "Make room or choose another folder with --out"
        )


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Holds FOLDER/.lock, a file that names its process; one that a dead process left is taken over.

    It has no lease: another machine's counts until somebody takes it away, whatever the clocks say.
    Raises LockedError while another process holds it.
    """
    path = (folder / ".lock").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    own_holder = {"pid": os.getpid(), "host": socket.gethostname()}
    for _ in range(3):
        try:
            fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            holder = _read_lock_holder(path)
            if _is_alive(holder, path):
                raise LockedError(
                    f"{folder} is being worked on by process {holder.get('pid', '?')} on "
                    f"{holder.get('host', 'this machine')}; wait for it, or delete {path} if it is gone"
                ) from None
            _remove_stale_lock(path, lambda holder: not _is_alive(holder, path))
            continue
        with os.fdopen(fd, "w") as stream:
            json.dump(own_holder, stream)
        break
    else:
        raise LockedError(f"{folder} is being worked on by another process; wait for it")
    _held_locks.add(path)
    try:
        yield
    finally:
        _held_locks.discard(path)
        if _read_lock_holder(path) == own_holder:  # nobody took it from a process that was thought to be gone
            path.unlink(missing_ok=True)


def _remove_stale_lock(path: Path, is_stale: Callable[[dict[str, Any]], bool]) -> None:
    """Removes a ``dead`` process's lock, one process at a time: of two that found it dead, the slower
    would remove the one that the faster has made since."""
    guard_path = path.with_name(".lock.taking.tmp")
    try:
        os.close(os.open(guard_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileNotFoundError:
        return  # nor is the folder there
    except FileExistsError:
        if not _is_alive({}, guard_path):  # its process died on the way
            guard_path.unlink(missing_ok=True)
        time.sleep(0.05)
        return
    try:
        if path.exists() and is_stale(_read_lock_holder(path)):
            path.unlink(missing_ok=True)
    finally:
        guard_path.unlink(missing_ok=True)


def release_stale_lock(folder: Path, holders: Collection[tuple[str, int]]) -> None:
    """Takes away FOLDER's lock when one of ``holders`` (host, process) has it: they are known to be gone."""
    _remove_stale_lock(folder / ".lock", lambda holder: (holder.get("host"), holder.get("pid")) in holders)


def _read_lock_holder(path: Path) -> dict[str, Any]:
    """What the lock says; empty when it is unreadable (its process died while writing it)."""
    with contextlib.suppress(OSError, ValueError):
        holder = json.loads(path.read_text())
        if isinstance(holder, dict):
            return holder
    return {}


def _is_alive(holder: dict[str, Any], path: Path) -> bool:
    pid = holder.get("pid")
    if not isinstance(pid, int):
        # empty: its process is between making and writing it, or died there
        with contextlib.suppress(OSError):
            return _filesystem_time(path.parent) - path.stat().st_mtime < LOCK_WRITE_TIMEOUT_SECONDS
        return False
    if holder.get("host") != socket.gethostname():
        return True  # on a shared disk; its processes cannot be seen from here
    if pid == os.getpid():
        return path in _held_locks  # in a container every run may have the same number
    return is_process_alive(pid)


def _filesystem_time(folder: Path) -> float:
    """The time by the clock that the folder's files get theirs from: a file server's may not be ours."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.", suffix=".tmp") as probe:
        return os.stat(probe.name).st_mtime


def read_asset_record(workspace: Workspace) -> dict[str, Any] | None:
    """Its asset.json; None while there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        record = json.loads(workspace.record_path.read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    return None
