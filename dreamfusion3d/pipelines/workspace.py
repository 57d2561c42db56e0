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
from dreamfusion3d.core.slug import hashed, slug, with_hash

ROOM_NEEDED = 64 << 20  # bytes: checkpoints, stage results and the asset of the largest quality
# Errors that the person at the keyboard can mend, as opposed to ours.
FOLDER_ERRORS = frozenset(
    getattr(errno, name)
    for name in ("ENOSPC", "EDQUOT", "EACCES", "EPERM", "EROFS", "ENOTDIR", "EISDIR", "EFBIG", "ENAMETOOLONG")
    if hasattr(errno, name)
)
SECONDS_TO_WRITE = 10.0  # a lock that is empty for longer was never finished
_mine: set[Path] = set()  # locks that this process holds


@dataclass(frozen=True)
class Source:
    """The mesh or the photos that the user brought, and what for."""

    use: str  # "init", "retexture" or "fit"
    file: str
    sha256: str

    @staticmethod
    def of(use: str, path: Path | str) -> Source:
        return Source(use, Path(path).name, files.sha256(Path(path)))

    @property
    def key(self) -> list[str]:
        """What decides the bytes: not the file's name."""
        return [self.use, self.sha256]


@dataclass(frozen=True)
class Edit:
    """From ``step`` (1-based) of ``stage`` on, and in later stages, ``prompt`` was asked."""

    stage: str
    step: int
    prompt: str

    @property
    def key(self) -> tuple[str, int, str]:
        return self.stage, self.step, self.prompt


@dataclass(frozen=True)
class Identity:
    """What decides every byte of an asset but the names in it: two equal identities are one run."""

    prompt: str
    seed: int
    config: configs.Config
    prior_sha256: str
    source: Source | None = None
    edits: tuple[Edit, ...] = ()  # known when the run is done: one with any is no longer what was asked for

    @property
    def digest(self) -> str:
        key = [*(self.source.key if self.source else []), *(list(e.key) for e in self.edits)]
        return _digest(self.prompt, self.seed, configs.as_dict(self.config), self.prior_sha256, key)


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
    def report(self) -> Path:
        return self.folder / "asset.json"

    @property
    def ticket(self) -> Path:
        """Says whose work this is while there is no report."""
        return self.work / "run.json"

    def asset(self, suffix: str) -> Path:
        return self.folder / f"{self.slug}.{suffix}"

    def owner(self) -> str | None:
        """The digest of the run that this folder holds or began; None when it is free."""
        broken = (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError)
        with contextlib.suppress(*broken):
            return _digest_of(json.loads(self.report.read_text(encoding="utf-8")))
        with contextlib.suppress(*broken):
            return str(json.loads(self.ticket.read_text(encoding="utf-8"))["digest"])
        return None

    def finished(self, identity: Identity) -> dict[str, Any] | None:
        """The report, when this very run is done and its files are still as they were written."""
        try:
            report = json.loads(self.report.read_text(encoding="utf-8"))
            if _digest_of(report) != identity.digest:
                return None
            for name, facts in report["files"].items():
                if files.sha256(self.folder / name) != facts["sha256"]:
                    return None
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
        return report

    def begin(self, identity: Identity, fresh: bool) -> None:
        """Takes the folder for this run; stage results of another run or version go."""
        # the report first: from here on the folder does not look finished
        self.report.unlink(missing_ok=True)
        ticket = {"digest": identity.digest, "version": version("dreamfusion3d"), "prompt": identity.prompt}
        same = False
        with contextlib.suppress(OSError, ValueError, RecursionError):
            same = json.loads(self.ticket.read_text(encoding="utf-8")) == ticket
        if self.work.exists() and (fresh or not same):
            shutil.rmtree(self.work)
        for folder in (self.folder, self.work):
            files.remove_strays(folder)
        files.write_json(self.ticket, ticket)


def _digest(prompt: str, seed: int, config: dict[str, Any], prior_sha256: str, more: list[Any]) -> str:
    return hashed(json.dumps([prompt, seed, config, prior_sha256, *more], sort_keys=True), length=64)


def _digest_of(report: dict[str, Any]) -> str:
    source = report.get("source")
    key = [source["use"], source["sha256"]] if source else []
    key += [[edit["stage"], edit["step"], edit["prompt"]] for edit in report.get("edits", [])]
    return _digest(report["prompt"], report["seed"], report["config"], report["prior"]["sha256"], key)


@contextlib.contextmanager
def claim(out: Path, identity: Identity, folder: str | None = None) -> Iterator[Workspace]:
    """The locked folder of this run: OUT/<slug>, or OUT/<slug>_<hash> when another run has that name
    (this one under edited prompts is another).

    With ``folder`` (a slug) it is OUT/<folder>, whatever run had it before.
    """
    if folder is not None:
        with locked(out / folder):
            yield Workspace(out / folder)
        return
    name = slug(identity.prompt)
    for number in itertools.count():
        digest = identity.digest if number < 2 else hashed(f"{identity.digest} {number}", length=64)
        space = Workspace(out / (with_hash(name, digest) if number else name))
        if space.owner() in (None, identity.digest):
            with locked(space.folder):
                # asked again under the lock: the name may have been taken meanwhile
                if space.owner() in (None, identity.digest):
                    yield space
                    return


@contextlib.contextmanager
def folder_errors(out: Path) -> Iterator[None]:
    """Turns errors of the file system that the user can mend into one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in FOLDER_ERRORS:
            raise
        raise InputError(
            f"cannot write to {error.filename or out}: {error.strerror}. "
            "Make room or choose another folder with --out; the same command then goes on where it stopped"
        ) from error


def check_room(out: Path) -> None:
    """Raises InputError when ``out`` cannot be made or its disk is as good as full."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise InputError(f"cannot make the folder {out}: {reason}. Choose another with --out") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to the folder {out}: permission denied. Choose another with --out")
    free = shutil.disk_usage(out).free
    if free < ROOM_NEEDED:
        raise InputError(
            f"the disk of {out} has {free / 2**20:.0f} MB left; a run needs {ROOM_NEEDED >> 20} MB. "
            "Make room or choose another folder with --out"
        )


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds FOLDER/.lock, a file that names its process; one that a dead process left is taken over.

    It has no lease: another machine's counts until somebody takes it away, whatever the clocks say.
    Raises LockedError while another process holds it.
    """
    path = (folder / ".lock").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    me = {"pid": os.getpid(), "host": socket.gethostname()}
    for _ in range(3):
        try:
            handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            holder = _holder(path)
            if _alive(holder, path):
                raise LockedError(
                    f"{folder} is being worked on by process {holder.get('pid', '?')} on "
                    f"{holder.get('host', 'this machine')}; wait for it, or delete {path} if it is gone"
                ) from None
            _take_away(path, lambda holder: not _alive(holder, path))
            continue
        with os.fdopen(handle, "w") as stream:
            json.dump(me, stream)
        break
    else:
        raise LockedError(f"{folder} is being worked on by another process; wait for it")
    _mine.add(path)
    try:
        yield
    finally:
        _mine.discard(path)
        if _holder(path) == me:  # nobody took it from a process that was thought to be gone
            path.unlink(missing_ok=True)


def _take_away(path: Path, dead: Callable[[dict[str, Any]], bool]) -> None:
    """Removes a ``dead`` process's lock, one process at a time: of two that found it dead, the slower
    would remove the one that the faster has made since."""
    guard = path.with_name(".lock.taking.tmp")
    try:
        os.close(os.open(guard, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileNotFoundError:
        return  # nor is the folder there
    except FileExistsError:
        if not _alive({}, guard):  # its process died on the way
            guard.unlink(missing_ok=True)
        time.sleep(0.05)
        return
    try:
        if path.exists() and dead(_holder(path)):
            path.unlink(missing_ok=True)
    finally:
        guard.unlink(missing_ok=True)


def release(folder: Path, holders: Collection[tuple[str, int]]) -> None:
    """Takes away FOLDER's lock when one of ``holders`` (host, process) has it: they are known to be gone."""
    _take_away(folder / ".lock", lambda holder: (holder.get("host"), holder.get("pid")) in holders)


def _holder(path: Path) -> dict[str, Any]:
    """What the lock says; empty when it is unreadable (its process died while writing it)."""
    with contextlib.suppress(OSError, ValueError):
        holder = json.loads(path.read_text())
        if isinstance(holder, dict):
            return holder
    return {}


def _alive(holder: dict[str, Any], path: Path) -> bool:
    pid = holder.get("pid")
    if not isinstance(pid, int):
        # empty: its process is between making and writing it, or died there
        with contextlib.suppress(OSError):
            return _now_in(path.parent) - path.stat().st_mtime < SECONDS_TO_WRITE
        return False
    if holder.get("host") != socket.gethostname():
        return True  # on a shared disk; its processes cannot be seen from here
    if pid == os.getpid():
        return path in _mine  # in a container every run may have the same number
    if os.name == "nt":
        return _alive_on_windows(pid)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return not _ended(pid)


def _now_in(folder: Path) -> float:
    """The time by the clock that the folder's files get theirs from: a file server's may not be ours."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.", suffix=".tmp") as probe:
        return os.stat(probe.name).st_mtime


def _ended(pid: int) -> bool:
    """Whether nobody asked yet how it ended; in a container whose first process never does, nobody will."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    return False


def _alive_on_windows(pid: int) -> bool:
    # there os.kill(pid, 0) would end the process
    import ctypes

    kernel = getattr(ctypes, "windll").kernel32  # noqa: B009  (absent from other systems' types)
    handle = kernel.OpenProcess(0x1000, False, pid)  # PROCESS_QUERY_LIMITED_INFORMATION
    if not handle:
        return False
    code = ctypes.c_ulong()
    kernel.GetExitCodeProcess(handle, ctypes.byref(code))
    kernel.CloseHandle(handle)
    return code.value == 259  # STILL_ACTIVE


def record_of(space: Workspace) -> dict[str, Any] | None:
    """Its asset.json; None while there is none, or none that can be read."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        found = json.loads(space.report.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return None
