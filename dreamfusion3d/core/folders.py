"""Output folders: free space, errors that the user can fix, and a lock that one process holds."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from dreamfusion3d.core.errors import InputError, LockedError
from dreamfusion3d.core.runtime import is_process_alive

MIN_FREE_BYTES = 64 << 20  # bytes: checkpoints, stage results and the asset of the largest quality
# Errors that the user can fix.
_NAMES = "ENOSPC EDQUOT EACCES EPERM EROFS ENOTDIR EISDIR EFBIG ENAMETOOLONG".split()
USER_FIXABLE_ERRNOS = frozenset(getattr(errno, name) for name in _NAMES if hasattr(errno, name))
LOCK_WRITE_TIMEOUT_SECONDS = 10.0  # an empty lock file older than this was abandoned
_held_locks: set[Path] = set()  # locks that this process holds


@contextlib.contextmanager
def translate_folder_errors(out: Path) -> Iterator[None]:
    """Turn file-system errors that the user can fix into an InputError of one line."""
    try:
        yield
    except OSError as error:
        if error.errno not in USER_FIXABLE_ERRNOS:
            raise
        raise InputError(
            f"cannot write to {error.filename or out}: {error.strerror}. "
            "Free some space or choose another folder with --out; the same command then resumes the run"
        ) from error


def check_free_space(out: Path) -> None:
    """Raise InputError if ``out`` cannot be created or written, or its disk is nearly full."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = "it is not a folder" if isinstance(error, FileExistsError) else error.strerror
        raise InputError(f"cannot create the folder {out}: {reason}. Choose another with --out") from None
    if not os.access(out, os.W_OK | os.X_OK):
        raise InputError(f"cannot write to the folder {out}: permission denied. Choose another with --out")
    free = shutil.disk_usage(out).free
    if free < MIN_FREE_BYTES:
        raise InputError(
            f"the disk of {out} has {free / 2**20:.0f} MB left; a run needs {MIN_FREE_BYTES >> 20} MB. "
            "Free some space or choose another folder with --out"
        )


@contextlib.contextmanager
def folder_lock(folder: Path) -> Iterator[None]:
    """Hold FOLDER/.lock, a file that names its process; take over the lock of a dead process.

    The lock has no lease: another machine's lock counts until somebody deletes it. Raises LockedError if another
    process holds the lock.
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
        if _read_lock_holder(path) == own_holder:  # unless somebody took it over
            path.unlink(missing_ok=True)


def _remove_stale_lock(path: Path, is_stale: Callable[[dict[str, Any]], bool]) -> None:
    """Remove a stale lock, one process at a time: the slower of two would remove the faster one's new lock."""
    guard_path = path.with_name(".lock.taking.tmp")
    try:
        os.close(os.open(guard_path, os.O_CREAT | os.O_EXCL | os.O_WRONLY))
    except FileNotFoundError:
        return  # the folder is gone, too
    except FileExistsError:
        if not _is_alive({}, guard_path):  # its process died
            guard_path.unlink(missing_ok=True)
        time.sleep(0.05)
        return
    try:
        if path.exists() and is_stale(_read_lock_holder(path)):
            path.unlink(missing_ok=True)
    finally:
        guard_path.unlink(missing_ok=True)


def release_stale_lock(folder: Path, holders: Collection[tuple[str, int]]) -> None:
    """Remove FOLDER's lock if one of ``holders`` (host, pid), which are known to be dead, holds it."""
    _remove_stale_lock(folder / ".lock", lambda holder: (holder.get("host"), holder.get("pid")) in holders)


def _read_lock_holder(path: Path) -> dict[str, Any]:
    """Return the content of a lock; empty if its process died while writing it."""
    with contextlib.suppress(OSError, ValueError):
        holder = json.loads(path.read_text())
        if isinstance(holder, dict):
            return holder
    return {}


def _is_alive(holder: dict[str, Any], path: Path) -> bool:
    pid = holder.get("pid")
    if not isinstance(pid, int):
        # empty: its process is about to write it, or died
        with contextlib.suppress(OSError):
            return _filesystem_time(path.parent) - path.stat().st_mtime < LOCK_WRITE_TIMEOUT_SECONDS
        return False
    if holder.get("host") != socket.gethostname():
        return True  # on a shared disk; its processes cannot be seen from here
    if pid == os.getpid():
        return path in _held_locks  # in a container every run may have the same number
    return is_process_alive(pid)


def _filesystem_time(folder: Path) -> float:
    """Return the time of the clock that stamps the folder's files: a file server's may differ from ours."""
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".now.", suffix=".tmp") as probe:
        return os.stat(probe.name).st_mtime
