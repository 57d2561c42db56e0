"""All settings of a run as frozen dataclasses. `resolve` sets and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

QUALITIES = ("instant", "draft", "standard", "high")
FormatName = Literal["glb", "gltf", "obj", "ply", "stl", "3mf", "usdz", "fbx"]  # written by mesh/io
BUILTIN_GUIDANCES = ("sds", "csd", "vsd", "ism")
GUIDANCE_GROUP = "dreamfusion3d.guidance"  # entry points of further ones


def _bounded(default: Any, low: int | float, high: int | float) -> Any:
    """Declare a field whose value, or each of whose values, lies in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class PriorConfig:
    """The diffusion prior: which weights, on which device, in which precision."""

    name: str = "embedded"  # "embedded", a folder, a hub id, or the name of an installed plug-in
    # the rest applies to the priors of docs/priors.md; the embedded one uses dtype and cuda_graph only
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # half precision on a GPU
    variant: str | None = None  # of the weight files, e.g. fp16; the plain files if it is absent
    revision: str | None = None  # branch, tag or commit of a hub id
    device: str = "auto"  # auto: the run's device; e.g. cuda:1 puts the prior on another one
    vae: str | None = None  # folder or hub id of a tiny autoencoder (TAESD) in place of the prior's own
    resolution: int = _bounded(0, 0, 4096)  # pixels along a side of the prior's input; 0: its native size
    batch_size: int = _bounded(64, 1, 4096)  # images per network call; fewer need less memory
    background: Literal["random", "white", "gray", "black"] = "random"  # for priors without an opacity channel
    distilled_scale: float = _bounded(3.5, 0.0, 100.0)  # input of networks with a guidance embedding (Flux)
    compile: bool = False  # compile the network with torch.compile
    cuda_graph: bool = False  # run the network as a CUDA graph; the embedded one too
    cpu_offload: bool = False  # keep the network in host memory and stream its layers to the device


@dataclass(frozen=True)
class PromptConfig:
    """Prompts given to the prior. A camera-conditioned prior needs neither view templates nor Perp-Neg."""

    negative: str | None = None  # replaces the empty prompt of the unconditional prediction
    view_dependent: bool = True  # use the templates below by camera; false: the plain prompt from all sides
    front_template: str = "{prompt}, front view"
    side_template: str = "{prompt}, side view"
    back_template: str = "{prompt}, back view"
    overhead_template: str = "{prompt}, overhead view"
    perp_neg: float = _bounded(0.0, 0.0, 10.0)  # strength of Perp-Neg; 0 is off, 1 as published


@dataclass(frozen=True)
class GuidanceConfig:
    """The guidance loss: its type, classifier-free guidance, range of times and weighting."""

    type: str = "sds"  # sds, csd, vsd, ism, or the name of an installed plugin
    scale: float = _bounded(1.0, 0.0, 1000.0)  # uncond + scale (cond - uncond); 1 is plain conditional
    rescale: float = _bounded(0.8, 0.0, 1.0)  # towards the conditional prediction's deviation (arXiv 2305.08891)
    multiview: bool = True  # denoise the views of a step together (multi-view priors)
    weight: float = _bounded(20.0, 0.0, 1e6)  # of the guidance loss relative to the regularizers
    t_range_start: tuple[float, float] = _bounded((0.3, 0.98), 0.0, 1.0)  # range of times at the first step
    t_range_end: tuple[float, float] = _bounded((0.05, 0.3), 0.0, 1.0)  # and at the last
    # window: uniform in the range; dreamtime: decreasing from t_range_start[1] to t_range_end[0] (arXiv 2306.12422)
    schedule: Literal["window", "dreamtime"] = "window"
    noise_samples: int = _bounded(1, 1, 64)  # pairs of time and noise per render
    weighting: Literal["x0", "sds", "uniform"] = "x0"  # guidance/protocol.py
    ism_interval: float = _bounded(0.05, 0.0, 1.0)  # between the two times of ISM
    ism_stride: float = _bounded(0.2, 0.01, 1.0)  # of ISM's inversion
    vsd_width: int = _bounded(48, 1, 1024)  # channels of the network that VSD trains
    vsd_lr: float = _bounded(0.001, 0.0, 1.0)  # its learning rate


@dataclass(frozen=True)
class OptimConfig:
    """The optimization: steps, cameras and learning rates."""

    steps: int = _bounded(300, 0, 1_000_000)  # 0: the prior's own shape, see `SolidPrior`
    num_views: int = _bounded(4, 1, 64)  # renders per step
    antipodal: bool = False  # pair every camera with the one opposite, at the same elevation
    lr_hashgrid: float = _bounded(0.02, 0.0, 10.0)  # Adam, hash table
    lr_mlp: float = _bounded(0.002, 0.0, 10.0)  # Adam, MLP
    lr_final_factor: float = _bounded(0.3, 1e-6, 1.0)  # of both rates at the end; see lr_factor
    sharpness: float = _bounded(4.0, 1.0, 1000.0)  # steepness of the density at the end of the run
    occupancy_update_interval: int = _bounded(8, 1, 1000)  # steps between updates of the occupancy grid
    init_skip_fraction: float = _bounded(0.5, 0.0, 0.99)  # fraction of steps and noise skipped with an initial volume


@dataclass(frozen=True)
class LossConfig:
    """Weights of the losses beside the guidance (``guidance.weight``); 0 turns a loss off."""

    sparsity: float = _bounded(0.005, 0.0, 1e3)  # opacity (DreamFusion, appendix A.2)
    opaque: float = _bounded(0.05, 0.0, 1e3)  # entropy of the opacity, late in the run
    orientation: float = _bounded(0.02, 0.0, 1e3)  # normals that face away (Ref-NeRF)
    interior: float = _bounded(0.05, 0.0, 1e3)  # density where no view sees
    interior_points: int = _bounded(2048, 1, 1_000_000)  # points sampled per step
    init: float = _bounded(2.0, 0.0, 1e3)  # departures from the initial volume where it is certain
    init_points: int = _bounded(2048, 1, 1_000_000)  # points sampled per step
    albedo_tv: float = _bounded(0.3, 0.0, 1e3)  # total variation of the rendered albedo
    normal_tv: float = _bounded(0.02, 0.0, 1e3)  # total variation of the rendered normals
    texture_tv: float = _bounded(0.5, 0.0, 1e3)  # as albedo_tv, for --retexture and --refine


@dataclass(frozen=True)
class FieldConfig:
    """Size and initialization of a ``NerfField`` (lengths in scene units)."""

    # prior: the prior's own object, which is not optimized, if it knows the shape; else its initial volume; else blob
    init: Literal["prior", "volume", "blob"] = "prior"
    num_levels: int = _bounded(6, 1, 32)
    features_per_level: int = _bounded(2, 1, 16)
    log2_table_size: int = _bounded(18, 4, 24)
    base_resolution: int = _bounded(8, 2, 1024)
    max_resolution: int = _bounded(60, 2, 8192)
    hidden_dim: int = _bounded(32, 1, 1024)
    density_blob_scale: float = _bounded(8.0, 0.0, 1000.0)  # DreamFusion, eq. 12: starts the object in the center
    density_blob_radius: float = _bounded(0.55, 0.01, 2.0)
    density_scale: float = _bounded(6.0, 0.001, 1000.0)
    half_precision_grads: bool = False  # accumulate the table's gradient in float16 on a GPU: faster, three digits


@dataclass(frozen=True)
class RenderConfig:
    """Renders during the optimization."""

    resolution: int = _bounded(64, 8, 2048)  # pixels along a side
    coarse_resolution: int = _bounded(32, 8, 2048)  # in the first part of the run, while shapes are coarse
    coarse_fraction: float = _bounded(0.4, 0.0, 1.0)  # of the steps
    step_size: float = _bounded(0.02, 1e-4, 1.0)  # scene units between samples along a ray
    occupancy_grid_resolution: int = _bounded(48, 8, 512)


@dataclass(frozen=True)
class TextureConfig:
    """Texture of a mesh of fixed shape: --retexture and --refine."""

    resolution: int = _bounded(128, 8, 2048)  # pixels of the rendered mesh; a prior resizes them
    lr: float = _bounded(0.02, 0.0, 10.0)  # Adam, hash table; the MLP has a tenth
    t_range_start: tuple[float, float] = _bounded((0.3, 0.9), 0.0, 1.0)  # --retexture: range of times, first step
    t_range_end: tuple[float, float] = _bounded((0.02, 0.3), 0.0, 1.0)  # --retexture: last step; --refine: all steps
    num_levels: int = _bounded(8, 1, 32)
    log2_table_size: int = _bounded(18, 4, 24)
    base_resolution: int = _bounded(8, 2, 1024)
    max_resolution: int = _bounded(160, 2, 8192)
    hidden_dim: int = _bounded(32, 1, 1024)


@dataclass(frozen=True)
class ReconstructionConfig:
    """Reconstruction from photos. Steps, learning rates and sharpness are in ``optim``."""

    rays_per_step: int = _bounded(2048, 16, 1_000_000)  # pixels per step, drawn from all photos
    max_image_size: int = _bounded(512, 8, 8192)  # pixels of a photo's longer side; larger photos are downscaled
    up: Literal["z", "y"] = "z"  # upward axis of the file
    scale: float = _bounded(0.0, 0.0, 1e6)  # scene units per unit of the file; 0: estimated from the photos
    offset: tuple[float, float, float] = _bounded((0.0, 0.0, 0.0), -1e6, 1e6)  # scene units; needs a scale
    num_eval_images: int = _bounded(0, 0, 10_000)  # photos held out for evaluation
    novel_view_interval: int = _bounded(5, 1, 1000)  # steps between renders from poses without a photo
    num_novel_views: int = _bounded(2, 1, 64)  # such renders at a time
    semantic_encoder: Literal["none", "embedded", "clip"] = "none"  # image encoder of the semantic loss (DietNeRF)
    semantic_weight: float = _bounded(0.01, 0.0, 1e3)  # weight of the semantic loss; the prior's is guidance.weight
    semantic_end_fraction: float = _bounded(0.5, 0.0, 1.0)  # fraction of the steps with the semantic loss
    clip_model: str | None = None  # folder or hub id of the CLIP model, for the encoder clip


@dataclass(frozen=True)
class MeshConfig:
    """The mesh and its texture, and the files of the asset."""

    grid_resolution: int = _bounded(128, 16, 1024)  # density samples per axis of the scene, for marching cubes
    max_faces: int = _bounded(20_000, 100, 10_000_000)
    texture_size: int = _bounded(1024, 16, 16384)
    texture_supersample: int = _bounded(2, 1, 8)  # samples along each side of a texel
    quads: bool = False  # remesh with QuadriFlow; OBJ stores quads, other formats triangle pairs
    smooth_iterations: int = _bounded(5, 0, 100)  # iterations of volume-preserving smoothing
    normal_map: bool = True  # bake the detail that simplification removed
    occlusion: bool = False  # bake ambient occlusion: slow
    turntable: bool = True  # render turntable.mp4 beside the thumbnail
    num_lods: int = _bounded(1, 1, 8)  # levels of detail, including the mesh itself; each halves the faces
    collision: Literal["none", "hull", "parts"] = "none"
    collision_names: Literal["unreal", "godot"] = "unreal"
    height_m: float | None = _bounded(None, 1e-4, 1e5)  # meters; absent: by the prompt, else 1
    formats: tuple[FormatName, ...] = ("glb",)
    refine_steps: int = _bounded(0, 0, 1_000_000)  # SDS steps on the texture of the finished mesh
    retexture_steps: int = _bounded(300, 1, 1_000_000)  # SDS steps on the texture of a given mesh


@dataclass(frozen=True)
class Config:
    """Settings of a run: an immutable tree of sections, each a dataclass of numbers, names and ranges.

    ``resolve_config`` makes one and checks it; ``dreamfusion3d config show`` lists all settings.

    Example:
        >>> Config().optim.steps
        300
        >>> Config().mesh.formats
        ('glb',)
    """

    prior: PriorConfig = PriorConfig()
    prompts: PromptConfig = PromptConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    texture: TextureConfig = TextureConfig()
    optim: OptimConfig = OptimConfig()
    losses: LossConfig = LossConfig()
    field: FieldConfig = FieldConfig()
    render: RenderConfig = RenderConfig()
    reconstruction: ReconstructionConfig = ReconstructionConfig()
    mesh: MeshConfig = MeshConfig()


# Settings that each quality changes; the defaults above are `standard`.
QUALITY_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "instant": {
        "optim.steps": 0,
        "mesh.grid_resolution": 96,
        "mesh.max_faces": 8000,
        "mesh.texture_size": 512,
        "mesh.turntable": False,
    },
    "draft": {"optim.steps": 150, "mesh.grid_resolution": 96, "mesh.texture_size": 512},
    "standard": {},
    "high": {"optim.steps": 1200, "mesh.grid_resolution": 192, "mesh.texture_size": 2048},
}

# The same for reconstruction: without a prior steps are cheaper, and photos show more detail than it does.
_RECONSTRUCTION_OVERRIDES: Mapping[str, Any] = {
    "optim.lr_final_factor": 0.1,
    "field.init": "blob",
    "field.max_resolution": 128,
    "guidance.weight": 0.1,
    "guidance.t_range_start": (0.3, 0.9),
    "guidance.t_range_end": (0.02, 0.3),
}
RECONSTRUCTION_QUALITY_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {**QUALITY_PRESETS["draft"], **_RECONSTRUCTION_OVERRIDES, "optim.steps": 400},
    "standard": {**_RECONSTRUCTION_OVERRIDES, "optim.steps": 1500},
    "high": {
        **QUALITY_PRESETS["high"],
        **_RECONSTRUCTION_OVERRIDES,
        "optim.steps": 5000,
        "reconstruction.rays_per_step": 4096,
        "reconstruction.max_image_size": 1024,
        "field.max_resolution": 256,
        "field.num_levels": 8,
        "field.log2_table_size": 19,
        "render.step_size": 0.01,
    },
}
