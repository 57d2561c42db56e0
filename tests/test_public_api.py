"""The names that `import dreamfusion3d` offers: they resolve, lazily, and their documentation runs."""

from __future__ import annotations

import ast
import doctest
import functools
import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import dreamfusion3d
from dreamfusion3d.cameras.capture import write_photos
from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.core.config import resolve_config
from dreamfusion3d.fields.texture_field import TextureField, constant_color
from dreamfusion3d.procedural.objects import default_spec, sample_objects_for_spec
from dreamfusion3d.procedural.posed_photos import render_photos
from dreamfusion3d.rendering import turntable
from tests.support.shapes import mesh_of, sphere, textured_of

INIT = Path(dreamfusion3d.__file__)
NAMES = [name for name in dreamfusion3d.__all__ if name != "__version__"]


@pytest.mark.parametrize("name", NAMES)
def test_name_resolves(name: str) -> None:
    value = getattr(dreamfusion3d, name)
    assert value.__name__ == name
    assert name in dir(dreamfusion3d)


def test_unknown_name_raises_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'text_to_mesh2'"):
        dreamfusion3d.text_to_mesh2  # noqa: B018


def test_type_checkers_see_the_same_names() -> None:
    """The imports under TYPE_CHECKING name the modules that `__getattr__` imports from."""
    statements = ast.walk(ast.parse(INIT.read_text(encoding="utf-8")))
    imports = {
        alias.name: (statement.module or "").removeprefix("dreamfusion3d.")
        for statement in statements
        if isinstance(statement, ast.ImportFrom) and (statement.module or "").startswith("dreamfusion3d.")
        for alias in statement.names
    }
    assert imports == dreamfusion3d._MODULES


def test_import_is_fast_and_loads_no_torch() -> None:
    """Under 0.15 s by `-X importtime`, the best of three on a busy machine."""
    code = "import sys, dreamfusion3d; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    seconds = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True
        )
        row = next(line for line in done.stderr.splitlines() if line.endswith("| dreamfusion3d"))
        seconds.append(int(row.split("|")[1]) / 1e6)
    assert min(seconds) < 0.15, f"importing dreamfusion3d takes {min(seconds):.3f} s"


def test_package_ships_its_types() -> None:
    assert (INIT.parent / "py.typed").exists()


def test_module_runs_as_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dreamfusion3d", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"dreamfusion3d {dreamfusion3d.__version__}\n"


TINY = (  # settings of the examples: seconds instead of minutes
    "optim.steps=2",
    "optim.num_views=2",
    "field.log2_table_size=10",
    "render.resolution=16",
    "render.coarse_resolution=16",
    "render.occupancy_grid_resolution=16",
    "mesh.grid_resolution=24",
    "mesh.max_faces=300",
    "mesh.normal_map=false",
    "mesh.retexture_steps=2",
    "mesh.texture_size=64",
    "reconstruction.rays_per_step=64",
    "texture.log2_table_size=10",
    "texture.resolution=16",
)


def tiny_config(quality: str = "standard", *, sets: tuple[str, ...] = (), **overrides: Any) -> dreamfusion3d.Config:
    return resolve_config(quality, sets=[*TINY, *sets], **overrides)


@functools.cache
def example_globals() -> dict[str, Any]:
    """The names that examples use: the public ones, and a prior, a field, cameras, ... of tiny sizes."""
    generator = torch.Generator().manual_seed(0)
    config, cameras = tiny_config(), turntable_cameras(2, size=16)
    prior, mesh = dreamfusion3d.load_prior(), mesh_of(sphere, 24, 100)
    field = dreamfusion3d.NerfField(config.field, generator=generator)
    return {name: getattr(dreamfusion3d, name) for name in NAMES} | {
        "np": np,
        "torch": torch,
        "Path": Path,
        "generator": generator,
        "config": config,
        "resolve_config": resolve_config,
        "cameras": cameras,
        "field": field,
        "occupancy": dreamfusion3d.OccupancyGrid(16),
        "prior": prior,
        "prompts": dreamfusion3d.encode_prompts(prior, "a red mug", config.prompts),
        "mesh": mesh,
        "normals": mesh.vertices / np.linalg.norm(mesh.vertices, axis=1, keepdims=True),
        "textured": textured_of(sphere),
        "texture_field": TextureField(config.texture, constant_color(), generator=generator),
        "x": torch.zeros(1, 3, 8, 8, requires_grad=True),
        "t": torch.tensor([0.5]),
        "alpha": torch.tensor([0.7071]),
        "sigma": torch.tensor([0.7071]),
        "noise": torch.randn(1, 3, 8, 8, generator=generator),
        "photos": tiny_photos(),
    }


@functools.cache
def tiny_photos() -> Any:
    generator, spec = torch.Generator().manual_seed(0), default_spec("mug")
    objects = sample_objects_for_spec(spec, 1, generator=generator)
    return render_photos(objects, 0, spec, turntable_cameras(6, size=16))


@pytest.fixture(scope="module")
def example_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds photos/ and out/a_red_mug/, which the examples of whole runs read."""
    folder: Path = tmp_path_factory.mktemp("examples")
    write_photos(folder / "photos", tiny_photos().rgba.numpy(), tiny_photos().cameras)
    with pytest.MonkeyPatch.context() as patch:
        shrink_images(patch)
        dreamfusion3d.text_to_mesh("a red mug", out=folder / "out", config=tiny_config("draft"))
    return folder


def shrink_images(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(turntable, "write_turntable", functools.partial(turntable.write_turntable, seconds=0.1, size=16))
    patch.setattr(turntable, "write_thumbnail", functools.partial(turntable.write_thumbnail, size=16))


@pytest.mark.parametrize("name", NAMES)
def test_docstring_example_runs(name: str, example_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = inspect.getdoc(getattr(dreamfusion3d, name)) or ""
    names = dict(example_globals())
    if dreamfusion3d._MODULES[name].startswith("pipelines"):
        shrink_images(monkeypatch)
        names["resolve_config"] = tiny_config
    monkeypatch.chdir(example_folder)
    test = doctest.DocTestParser().get_doctest(text, names, name, None, None)
    assert test.examples, f"{name} has no example"
    report: list[str] = []
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test, out=report.append).failed == 0, "".join(report)


@pytest.mark.parametrize("name", NAMES)
def test_docstring_is_complete(name: str) -> None:
    """A first line with a period, every parameter or field described, and what comes back."""
    value = getattr(dreamfusion3d, name)
    text = inspect.getdoc(value) or ""
    assert text.split("\n")[0].endswith("."), f"{name}: the first line is no sentence"
    assert "\nExample:\n" in text
    if inspect.isfunction(value):
        assert "\nArgs:\n" in text and ("\nReturns:\n" in text or "\nYields:\n" in text)
        documented = set(re.findall(r"[*\w]+(?=[\w, ]*: )", text.split("\nArgs:\n")[1].split("\n\n")[0]))
        parameters = {p.name for p in inspect.signature(value).parameters.values() if p.kind is not p.VAR_KEYWORD}
        assert parameters <= documented, f"{name}: {parameters - documented} not described"
