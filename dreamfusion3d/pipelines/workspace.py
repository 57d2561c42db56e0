"""Folder of one run: its identity, whether it is finished, and its paths."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from dreamfusion3d.core import config as configs, files
from dreamfusion3d.core.folders import folder_lock
from dreamfusion3d.core.slug import append_hash, hash_text, slugify
from dreamfusion3d.mesh.io.companions import mesh_file_sha256
from dreamfusion3d.pipelines.asset_record import UNREADABLE, AssetRecord, identity_digest


@dataclass(frozen=True)
class Source:
    """Mesh or photos of the user, and their use."""

    use: str  # "init", "retexture" or "fit"
    file: str
    sha256: str

    @staticmethod
    def from_file(use: str, path: Path | str) -> Source:
        return Source(use, Path(path).name, mesh_file_sha256(Path(path)))

    @property
    def key(self) -> list[str]:
        """What decides the bytes: not the file's name."""
        return [self.use, self.sha256]


@dataclass(frozen=True)
class PromptEdit:
    """``prompt`` replaced the one before from ``step`` (1-based) of ``stage`` on, and in later stages."""

    stage: str
    step: int
    prompt: str

    @property
    def key(self) -> tuple[str, int, str]:
        return self.stage, self.step, self.prompt


@dataclass(frozen=True)
class RunIdentity:
    """Everything that decides the bytes of an asset, except the names in it."""

    prompt: str
    seed: int
    config: configs.Config
    prior_sha256: str
    source: Source | None = None
    edits: tuple[PromptEdit, ...] = ()  # known at the end; a run with edits is another run

    @property
    def digest(self) -> str:
        key = [*(self.source.key if self.source else []), *(list(e.key) for e in self.edits)]
        return identity_digest(self.prompt, self.seed, configs.config_to_dict(self.config), self.prior_sha256, key)


@dataclass(frozen=True)
class Workspace:
    """OUT/<slug>/ and the paths in it."""

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
        """Identifies the run while there is no asset.json."""
        return self.work / "run.json"

    def asset_path(self, suffix: str) -> Path:
        return self.folder / f"{self.slug}.{suffix}"

    def owner_digest(self) -> str | None:
        """Return the digest of the run that finished or started in this folder; None if it is free."""
        with contextlib.suppress(*UNREADABLE):
            if record := AssetRecord.read(self.record_path):
                return record.digest
        with contextlib.suppress(*UNREADABLE):
            return str(json.loads(self.run_info_path.read_text(encoding="utf-8"))["digest"])
        return None

    def finished_record(self, identity: RunIdentity) -> AssetRecord | None:
        """Return the record if this very run is finished and its files are as they were written."""
        with contextlib.suppress(*UNREADABLE):
            record = AssetRecord.read(self.record_path)
            if record and record.digest == identity.digest and record.matches_files(self.folder):
                return record
        return None

    def begin(self, identity: RunIdentity, resume: bool) -> None:
        """Take the folder for this run; delete stage results of another run or version, or without ``resume``."""
        # the record first: from here on the folder does not look finished
        self.record_path.unlink(missing_ok=True)
        run_info = {"digest": identity.digest, "version": version("dreamfusion3d"), "prompt": identity.prompt}
        same = False
        with contextlib.suppress(OSError, ValueError, RecursionError):
            same = json.loads(self.run_info_path.read_text(encoding="utf-8")) == run_info
        if self.work.exists() and not (resume and same):
            shutil.rmtree(self.work)
        for folder in (self.folder, self.work):
            files.remove_temporary_files(folder)
        files.write_json(self.run_info_path, run_info)


@contextlib.contextmanager
def claim_workspace(out: Path, identity: RunIdentity, folder: str | None = None) -> Iterator[Workspace]:
    """Lock and yield the folder of a run: OUT/<slug>, or OUT/<slug>_<hash> if another run has that name.

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
                # again under the lock: the name may have been taken meanwhile
                if workspace.owner_digest() in (None, identity.digest):
                    yield workspace
                    return


def read_asset_record(workspace: Workspace) -> dict[str, Any] | None:
    """Return the JSON object of asset.json as it is, for listings of records that may be incomplete; else None."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        record = json.loads(workspace.record_path.read_text(encoding="utf-8"))
        if isinstance(record, dict):
            return record
    return None
