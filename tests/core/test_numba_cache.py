"""Where compiled functions are kept."""

from __future__ import annotations

import re
from pathlib import Path

import numba
import pytest

import dreamfusion3d
from dreamfusion3d.core import numba_cache


def twice(x):
    return 2 * x


@pytest.mark.parametrize("chosen", [None, "elsewhere"])
def test_nothing_is_left_within_the_package(tmp_path, monkeypatch, chosen):
    """An uninstallation would leave it, and python take the folder for the package."""
    before = str(tmp_path / chosen) if chosen else ""
    monkeypatch.setattr(numba.config, "CACHE_DIR", before)
    monkeypatch.setattr(numba_cache, "KERNEL_CACHE_DIR", tmp_path / "kernels")
    function = numba_cache.njit(nogil=True)(twice)
    assert function(3) == 6
    kept = list(tmp_path.rglob("*.nbi"))
    assert kept and all((tmp_path / (chosen or "kernels")) in path.parents for path in kept)
    assert before == numba.config.CACHE_DIR, "other packages' stay where they are"


def test_where_it_cannot_be_written_the_user_keeps_them(tmp_path, monkeypatch):
    """And not the package, which numba would take next."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.setattr(numba_cache, "KERNEL_CACHE_DIR", tmp_path / "file" / "kernels")
    monkeypatch.delenv("DREAMFUSION3D_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert numba_cache.njit(twice)(3) == 6
    assert list((tmp_path / "home" / "dreamfusion3d" / "kernels").rglob("*.nbi"))


def test_the_folder_lies_beside_the_package():
    package = Path(dreamfusion3d.__file__).resolve().parent
    assert (
        numba_cache.KERNEL_CACHE_DIR.parent.parent == package.parent and numba_cache.KERNEL_CACHE_DIR.parent != package
    )


def test_every_kernel_is_compiled_so():
    """numba alone would put it into the package."""
    package = Path(dreamfusion3d.__file__).parent
    own = [path for path in package.rglob("*.py") if path.name != "numba_cache.py"]
    by_numba = re.compile(r"(numba\.|from numba import .*)(n?jit|vectorize|guvectorize|cfunc|stencil)")
    found = [path.name for path in own if by_numba.search(path.read_text(encoding="utf-8"))]
    assert not found and len(own) > 100
