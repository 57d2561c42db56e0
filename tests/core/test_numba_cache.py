"""The folder of numba's compiled functions."""

from __future__ import annotations

import re
from pathlib import Path

import numba
import pytest

import dreamfusion3d
from dreamfusion3d.core import numba_cache


def double(x):
    return 2 * x


@pytest.mark.parametrize("chosen", [None, "elsewhere"])
def test_njit_writes_nothing_into_the_package(tmp_path, monkeypatch, chosen):
    """An uninstall would leave it behind, and Python would take the folder for the package."""
    before = str(tmp_path / chosen) if chosen else ""
    monkeypatch.setattr(numba.config, "CACHE_DIR", before)
    function = numba_cache.njit(nogil=True, cache_dir=tmp_path / "kernels")(double)
    assert function(3) == 6
    cached = list(tmp_path.rglob("*.nbi"))
    assert cached and all((tmp_path / (chosen or "kernels")) in path.parents for path in cached)
    assert before == numba.config.CACHE_DIR, "other packages keep their folder"


def test_njit_falls_back_to_the_users_cache_folder(tmp_path, monkeypatch):
    """numba itself would fall back to the package."""
    (tmp_path / "file").touch()
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    monkeypatch.delenv("DREAMFUSION3D_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    assert numba_cache.njit(double, cache_dir=tmp_path / "file" / "kernels")(3) == 6
    assert list((tmp_path / "home" / "dreamfusion3d" / "kernels").rglob("*.nbi"))


def test_kernel_cache_dir_is_beside_the_package():
    package = Path(dreamfusion3d.__file__).resolve().parent
    assert (
        numba_cache.KERNEL_CACHE_DIR.parent.parent == package.parent and numba_cache.KERNEL_CACHE_DIR.parent != package
    )


def test_every_kernel_uses_njit_of_this_package():
    """numba's own njit would write into the package."""
    package = Path(dreamfusion3d.__file__).parent
    own = [path for path in package.rglob("*.py") if path.name != "numba_cache.py"]
    by_numba = re.compile(r"(numba\.|from numba import .*)(n?jit|vectorize|guvectorize|cfunc|stencil)")
    found = [path.name for path in own if by_numba.search(path.read_text(encoding="utf-8"))]
    assert not found and len(own) > 100
