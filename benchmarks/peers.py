"""Other people's code beside ours in one run, taken from clones that are no part of this repository.

    git clone https://github.com/nerfstudio-project/nerfstudio PEERS/nerfstudio
    git clone https://github.com/ashawkey/stable-dreamfusion PEERS/stable-dreamfusion

Single files are loaded by their path. What they import besides and do not need here (drawing, viewers,
compiled extensions) is stood in for, so neither package is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import subprocess
import sys
import time
import types
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.config import Config
from dreamfusion3d.fields.hashgrid import hashgrid
from dreamfusion3d.fields.hashgrid.layout import HashGridLayout
from dreamfusion3d.fields.initialization import FieldInit
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import RenderSettings, render_field_with_aux

NERFSTUDIO, STABLE_DREAMFUSION = "nerfstudio", "stable-dreamfusion"
ORIENTATION = 0.01  # weight of the loss that makes either renderer compute its normals
Report = dict[str, Any]


def commit(clone: Path) -> str | None:
    """What is compared with; None where there is no clone."""
    if not clone.is_dir():
        return None
    asked = subprocess.run(
        ["git", "-C", str(clone), "rev-parse", "--show-toplevel", "HEAD"], capture_output=True, text=True, check=False
    )
    top, _, head = asked.stdout.strip().partition("\n")
    own = asked.returncode == 0 and Path(top) == clone.resolve()  # not the repository around it
    return head if own else "unknown"


def module(path: Path, name: str, stubs: Mapping[str, Mapping[str, object]]) -> types.ModuleType:
    """The file ``path`` as the module ``name``, which finds ``stubs`` (modules and what is in them) in
    place of what it imports; sys.modules is left as it was."""
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    standing = {name: made}
    for stub, content in stubs.items():
        standing[stub] = types.ModuleType(stub)
        standing[stub].__path__ = []  # so that it may have submodules
        vars(standing[stub]).update(content)
    with mock.patch.dict(sys.modules, standing), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that have gone out of use since
        spec.loader.exec_module(made)
    return made


def hash_encoding(clone: Path, layout: HashGridLayout, device: torch.device) -> torch.nn.Module:
    """nerfstudio's HashEncoding in pure torch, of our sizes. It hashes every level, also those whose
    vertices all have a row of their own, so its table has T rows a level."""
    parts, unused = clone / "nerfstudio" / "field_components", lambda *_, **__: None
    base = module(parts / "base_field_component.py", "peer_base", {})
    encodings = module(
        parts / "encodings.py",
        "peer_encodings",
        {
            "nerfstudio": {},
            "nerfstudio.field_components": {},
            "nerfstudio.utils": {},
            "nerfstudio.field_components.base_field_component": {"FieldComponent": base.FieldComponent},
            "nerfstudio.utils.external": {"TCNN_EXISTS": False, "tcnn": None},
            "nerfstudio.utils.math": {"expected_sin": unused, "generate_polyhedron_basis": unused},
            "nerfstudio.utils.printing": {"print_tcnn_speed_warning": unused},
            "nerfstudio.utils.spherical_harmonics": {"MAX_SH_DEGREE": 4, "components_from_spherical_harmonics": unused},
        },
    )
    return encodings.HashEncoding(
        num_levels=layout.num_levels,
        min_res=layout.base_resolution,
        max_res=layout.max_resolution,
        log2_hashmap_size=layout.log2_table_size,
        features_per_level=layout.features,
        implementation="torch",
    ).to(device)


def vanilla_nerf(clone: Path, device: torch.device) -> torch.nn.Module:
    """stable-dreamfusion's ``-O2``: its MLP of frequencies, rendered by uniform and then by importance
    sampling, with its own defaults and without a background network."""

    def safe_normalize(x: Tensor) -> Tensor:
        return x * x.square().sum(-1, keepdim=True).clamp(min=1e-20).rsqrt()

    unused = lambda *_, **__: None  # noqa: E731
    utils = {"safe_normalize": safe_normalize, "custom_meshgrid": unused}
    activation = module(clone / "activation.py", "peer_activation", {})
    encoding = module(clone / "encoding.py", "peer_encoding", {})
    renderer = module(
        clone / "nerf" / "renderer.py",
        "peer_nerf.renderer",
        {
            "peer_nerf": {},
            "peer_nerf.utils": utils,
            "cv2": {},
            "nvdiffrast": {},
            "nvdiffrast.torch": {},
            "mcubes": {},
            "raymarching": {},
            "trimesh": {},
            "meshutils": dict.fromkeys(("decimate_mesh", "clean_mesh", "poisson_mesh_reconstruction"), unused),
        },
    )
    network = module(
        clone / "nerf" / "network.py",
        "peer_nerf.network",
        {
            "peer_nerf": {},
            "peer_nerf.utils": utils,
            "peer_nerf.renderer": vars(renderer),
            "activation": vars(activation),
            "encoding": vars(encoding),
        },
    )
    options = argparse.Namespace(
        bound=1,
        min_near=0.01,
        density_thresh=10,
        dmtet=False,
        cuda_ray=False,
        taichi_ray=False,
        bg_radius=-1,
        density_activation="exp",
        blob_density=5,
        blob_radius=0.2,
        num_steps=64,
        upsample_steps=32,
        lambda_orient=1e-2,
        lambda_3d_normal_smooth=0,
        lambda_2d_normal_smooth=0,
        lambda_normal=0,
    )
    torch.manual_seed(0)  # it draws from the global generator
    found: torch.nn.Module = network.NeRFNetwork(options).to(device).train()
    return found


def median_ms(contestants: Mapping[str, Callable[[], object]], repeats: int, device: torch.device) -> dict[str, float]:
    """Median milliseconds of each, taken in turn, so that a busy machine slows all of them; the first
    round, which compiles, is not counted."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for repeat in range(repeats + 1):
        for name, run in contestants.items():
            begun = _now(device)
            run()
            if repeat:
                times[name].append(1000 * (_now(device) - begun))
    return {name: round(statistics.median(values), 3) for name, values in times.items()}


def _now(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def ratios(milliseconds: Mapping[str, float]) -> dict[str, float]:
    """How many times as long as ours each of the others takes."""
    return {k: round(v / milliseconds["ours"], 2) for k, v in milliseconds.items() if k != "ours"}


def encoding(samples: int, layout: HashGridLayout, peers: Path, repeats: int, device: torch.device) -> Report:
    """Forward and backward pass of ours, of the torch reference, and of those peers that are there."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(samples, 3, generator=generator).to(device)
    table = torch.randn(layout.num_rows, layout.features, generator=generator).to(device).requires_grad_()
    pull = torch.randn(samples, layout.output_dim, generator=generator).to(device)

    def ours(backend: Any) -> Callable[[], object]:
        def run() -> None:
            table.grad = None
            hashgrid(x, table, layout, backend).backward(pull)

        return run

    def theirs(network: torch.nn.Module) -> Callable[[], object]:
        def run() -> None:
            network.zero_grad(set_to_none=True)
            network(x).backward(pull.to(network(x[:1]).dtype))

        return run

    contestants = {"ours": ours("auto"), "torch_reference": ours("torch")}
    if commit(peers / NERFSTUDIO):
        contestants["nerfstudio_torch"] = theirs(hash_encoding(peers / NERFSTUDIO, layout, device))
    if tiny := tiny_cuda_nn(layout, device):
        contestants["tiny_cuda_nn"] = theirs(tiny)
    found = median_ms(contestants, repeats, device)
    return {
        "samples": samples,
        "levels": layout.num_levels,
        "features": layout.features,
        "log2_table_size": layout.log2_table_size,
        "ms": found,
        "ratio": ratios(found),
    }


def tiny_cuda_nn(layout: HashGridLayout, device: torch.device) -> torch.nn.Module | None:
    """Its grid encoding through its torch binding, tables of halves; None where it is not installed."""
    if device.type != "cuda" or importlib.util.find_spec("tinycudann") is None:
        return None
    import tinycudann

    growth = (layout.max_resolution / layout.base_resolution) ** (1 / max(layout.num_levels - 1, 1))
    return tinycudann.Encoding(
        3,
        {
            "otype": "HashGrid",
            "n_levels": layout.num_levels,
            "n_features_per_level": layout.features,
            "log2_hashmap_size": layout.log2_table_size,
            "base_resolution": layout.base_resolution,
            "per_level_scale": growth,
        },
    )


def field_step(
    views: int,
    size: int,
    config: Config,
    peers: Path,
    repeats: int,
    device: torch.device,
    start: FieldInit | None = None,
) -> Report:
    """Pictures of a field with shaded normals and the gradient of their loss, without a prior or an
    optimiser: ours, and stable-dreamfusion's ``-O2`` on the same rays. Both fields as a run begins."""
    generator = torch.Generator(device).manual_seed(0)
    cameras = sample_orbit_cameras(views, generator=generator, size=size)
    pull = torch.randn(views, size, size, 3, generator=generator, device=device) / size**2
    contestants, counted = {}, {}
    for name, begin in {"ours": None, "ours_from_fog": start}.items():
        if name == "ours" or begin is not None:
            contestants[name], counted[name] = our_step(cameras, config, begin, pull)
    if commit(peers / STABLE_DREAMFUSION):
        network = vanilla_nerf(peers / STABLE_DREAMFUSION, device)
        contestants["stable_dreamfusion_O2"] = their_step(network, cameras, pull)
    found = median_ms(contestants, repeats, device)
    return {
        "views": views,
        "size": size,
        "rays": views * size**2,
        "samples": counted,
        "ms": found,
        "ratio": ratios(found),
    }


def our_step(
    cameras: OrbitCameras, config: Config, start: FieldInit | None, pull: Tensor, *, update: bool = False
) -> tuple[Callable[[], object], int]:
    """The step, with Adam's ``update`` or without, and how many samples it takes."""
    device = pull.device
    generator = torch.Generator(device).manual_seed(0)
    field = NerfField(config.field, generator=generator, init=start)
    occupancy = OccupancyGrid(config.render.occupancy_grid_resolution, device)
    for step in range(2):
        occupancy.update(field.density, generator=generator, step=step)
    seen = {"occupancy": occupancy, "settings": RenderSettings(step_size=config.render.step_size)}
    adam = torch.optim.Adam(field.parameters(), lr=0.0)  # the field stays as it is

    def run() -> int:
        field.zero_grad(set_to_none=True)
        picture, detail = render_field_with_aux(field, cameras, generator=generator, **seen)
        ((picture.rgb * pull).sum() + ORIENTATION * detail.orientation_loss()).backward()
        if update:
            adam.step()
        return len(detail.weights)

    return run, run()


def their_step(network: torch.nn.Module, cameras: OrbitCameras, pull: Tensor) -> Callable[[], object]:
    origins, directions = (t.reshape(1, -1, 3) for t in cameras.rays())
    half = pull.device.type == "cuda"  # -O2 means --fp16, which is of use on a GPU alone

    def run() -> None:
        network.zero_grad(set_to_none=True)
        with torch.autocast(pull.device.type, torch.float16, enabled=half):
            seen = network.run(origins, directions, ambient_ratio=0.5, shading="lambertian", perturb=True)
            picture = seen["image"].reshape(pull.shape)
            loss = (picture * pull).sum() + ORIENTATION * seen["loss_orient"]
        loss.backward()

    return run
