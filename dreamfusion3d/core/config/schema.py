"""Every number of a run, in one frozen tree. ``config`` sets and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

QUALITIES = ("draft", "standard", "high")
FormatName = Literal["glb", "gltf", "obj", "ply", "stl", "3mf", "usdz", "fbx"]  # mesh/formats writes them
BUILTIN_GUIDANCES = ("sds", "csd", "vsd", "ism")
GUIDANCE_GROUP = "dreamfusion3d.guidance"  # entry points that add to them


def _bounded(default: Any, low: int | float, high: int | float) -> Any:
    """A field whose value (or each of whose values) lies in [low, high]."""
    return field(default=default, metadata={"low": low, "high": high})


@dataclass(frozen=True)
class PriorConfig:
    name: str = "embedded"  # "embedded", a folder, a hub id, or the name of an installed plug-in
    # what follows is for the priors of docs/priors.md; the embedded one looks at dtype and graph
    dtype: Literal["auto", "float32", "float16", "bfloat16"] = "auto"  # half precision on a GPU
    variant: str | None = None  # of the weight files, as fp16; the plain files where there is none
    revision: str | None = None  # branch, tag or commit of a hub id
    device: str = "auto"  # the run's own, or another one for the prior alone, as cuda:1
    vae: str | None = None  # folder or hub id of a tiny autoencoder (TAESD) in place of the prior's own
    resolution: int = _bounded(0, 0, 4096)  # pixels along a side that the prior is shown; 0: its native size
    batch_size: int = _bounded(64, 1, 4096)  # pictures that pass the network at once; fewer need less memory
    background: Literal["random", "white", "grey", "black"] = "random"  # behind pictures without opacity
    distilled_scale: float = _bounded(3.5, 0.0, 100.0)  # told to networks with a guidance embedding (Flux)
    compile: bool = False  # the network, by torch.compile
    cuda_graph: bool = False  # the network as a CUDA graph; also the embedded one's
    cpu_offload: bool = False  # the network stays in main memory, and its layers come to the device in turn


@dataclass(frozen=True)
class PromptConfig:
    """What the prior is asked. A prior that is told the camera needs neither view words nor Perp-Neg."""

    negative: str | None = None  # what the object must not be; in place of the empty prompt
    view_dependent: bool = True  # the sentences below, by camera; false: the bare prompt from all sides
    front_template: str = "{prompt}, front view"
    side_template: str = "{prompt}, side view"
    back_template: str = "{prompt}, back view"
    overhead_template: str = "{prompt}, overhead view"
    perp_neg: float = _bounded(0.0, 0.0, 10.0)  # strength of Perp-Neg; 0 is off, 1 as published


@dataclass(frozen=True)
class GuidanceConfig:
    type: str = "sds"  # sds, csd, vsd, ism, or the name that an installed package gives to its own
    scale: float = _bounded(1.0, 0.0, 1000.0)  # uncond + scale (cond - uncond); 1 is plain conditional
    rescale: float = _bounded(0.8, 0.0, 1.0)  # towards the conditional's deviation (arXiv 2305.08891)
    multiview: bool = True  # the views of a step are denoised together (a multi-view prior)
    weight: float = _bounded(20.0, 0.0, 1e6)  # of the guidance loss against the regularisers
    t_range_start: tuple[float, float] = _bounded((0.3, 0.98), 0.0, 1.0)  # window of times at the first step
    t_range_end: tuple[float, float] = _bounded((0.05, 0.3), 0.0, 1.0)  # and at the last
    # "window": uniform in it; "dreamtime": from t_start's end down to t_end's begin (arXiv 2306.12422)
    schedule: Literal["window", "dreamtime"] = "window"
    noise_samples: int = _bounded(1, 1, 64)  # times and noises that a step's pictures are shown with
    weighting: Literal["x0", "sds", "uniform"] = "x0"  # guidance/protocol.py
    ism_interval: float = _bounded(0.05, 0.0, 1.0)  # between ism's two times
    ism_stride: float = _bounded(0.2, 0.01, 1.0)  # of ism's inversion
    vsd_width: int = _bounded(48, 1, 1024)  # channels of the network that vsd trains
    vsd_lr: float = _bounded(0.001, 0.0, 1.0)  # its learning rate


@dataclass(frozen=True)
class OptimConfig:
    steps: int = _bounded(300, 1, 1_000_000)
    num_views: int = _bounded(4, 1, 64)  # pictures a step
    antipodal: bool = False  # every camera of a step has its opposite in it, half a turn on and as high
    lr_hashgrid: float = _bounded(0.02, 0.0, 10.0)  # Adam, hash table
    lr_mlp: float = _bounded(0.002, 0.0, 10.0)  # Adam, MLP
    lr_final_factor: float = _bounded(0.3, 0.0, 1.0)  # share of both rates that is left at the end
    sharpness: float = _bounded(4.0, 1.0, 1000.0)  # steepness of the density that the run ends with
    occupancy_update_interval: int = _bounded(8, 1, 1000)  # steps between updates of the occupancy grid
    init_skip_fraction: float = _bounded(0.5, 0.0, 0.99)  # share of steps and noise that a better start saves


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
    """Size of a ``NerfField`` and what it starts from (lengths in scene units)."""

    init: Literal["prior", "blob"] = "prior"  # the prior's own first guess where it has one, or the blob
    num_levels: int = _bounded(6, 1, 32)
    features_per_level: int = _bounded(2, 1, 16)
    log2_table_size: int = _bounded(18, 4, 24)
    base_resolution: int = _bounded(8, 2, 1024)
    max_resolution: int = _bounded(60, 2, 8192)
    hidden_dim: int = _bounded(32, 1, 1024)
    density_blob_scale: float = _bounded(8.0, 0.0, 1000.0)  # DreamFusion, eq. 12: so that the object starts centred
    density_blob_radius: float = _bounded(0.55, 0.01, 2.0)
    density_scale: float = _bounded(6.0, 0.001, 1000.0)
    half_precision_grads: bool = False  # the table's gradient adds up in float16 on a GPU: faster, three digits


@dataclass(frozen=True)
class RenderConfig:
    resolution: int = _bounded(64, 8, 2048)  # pixels, a square
    coarse_resolution: int = _bounded(32, 8, 2048)  # in the first part of the run, where shapes are vague
    coarse_fraction: float = _bounded(0.4, 0.0, 1.0)  # of the steps
    step_size: float = _bounded(0.02, 1e-4, 1.0)  # scene units between samples on a ray
    occupancy_grid_resolution: int = _bounded(48, 8, 512)


@dataclass(frozen=True)
class TextureConfig:
    """Colours of a mesh whose shape is given: --retexture and --refine."""

    resolution: int = _bounded(128, 8, 2048)  # pixels of the rendered mesh; a prior makes them its own size
    lr: float = _bounded(0.02, 0.0, 10.0)  # Adam, hash table; the MLP has a tenth
    t_range_start: tuple[float, float] = _bounded((0.3, 0.9), 0.0, 1.0)  # --retexture: window of times, first step
    t_range_end: tuple[float, float] = _bounded((0.02, 0.3), 0.0, 1.0)  # --retexture: last step; --refine: all steps
    num_levels: int = _bounded(8, 1, 32)
    log2_table_size: int = _bounded(18, 4, 24)
    base_resolution: int = _bounded(8, 2, 1024)
    max_resolution: int = _bounded(160, 2, 8192)
    hidden_dim: int = _bounded(32, 1, 1024)


@dataclass(frozen=True)
class ReconstructionConfig:
    """`dreamfusion3d fit`: photos in place of a prompt. Steps, rates and sharpness are ``optim``'s."""

    rays_per_step: int = _bounded(2048, 16, 1_000_000)  # pixels a step, of all photos
    max_image_size: int = _bounded(512, 8, 8192)  # pixels of a photo's longer side; larger ones are shrunk
    up: Literal["z", "y"] = "z"  # of the file's world
    scale: float = _bounded(0.0, 0.0, 1e6)  # scene units in a unit of the file; 0: by the photos
    offset: tuple[float, float, float] = _bounded((0.0, 0.0, 0.0), -1e6, 1e6)  # scene units, with a scale only
    num_eval_images: int = _bounded(0, 0, 10_000)  # photos that are not fitted but judged by
    novel_view_interval: int = _bounded(5, 1, 1000)  # steps between pictures from poses that no photo has
    num_novel_views: int = _bounded(2, 1, 64)  # such pictures at a time
    semantic_encoder: Literal["none", "embedded", "clip"] = "none"  # of what they show: an image encoder (DietNeRF)
    semantic_weight: float = _bounded(0.01, 0.0, 1e3)  # of its loss; a prior's is guidance.weight
    semantic_end_fraction: float = _bounded(0.5, 0.0, 1.0)  # share of the steps; then the photos alone are fitted
    clip_model: str | None = None  # folder or hub id of a CLIP model, for the teacher clip


@dataclass(frozen=True)
class MeshConfig:
    grid_resolution: int = _bounded(128, 16, 1024)  # cells of the marching cubes along an edge of the scene
    max_faces: int = _bounded(20_000, 100, 10_000_000)
    texture_size: int = _bounded(1024, 16, 16384)
    texture_supersample: int = _bounded(2, 1, 8)  # places asked along each side of a texel
    quads: bool = False  # QuadriFlow's, two triangles each; OBJ holds them as quads
    smooth_iterations: int = _bounded(5, 0, 100)  # rounds of a smoothing that keeps the volume
    normal_map: bool = True  # of what simplification took away
    occlusion: bool = False  # ambient occlusion as a texture: slow
    num_lods: int = _bounded(1, 1, 8)  # levels of detail, the mesh itself included; each has half the faces
    collision: Literal["none", "hull", "parts"] = "none"
    collision_names: Literal["unreal", "godot"] = "unreal"
    height_m: float = _bounded(1.0, 1e-4, 1e5)  # metres
    formats: tuple[FormatName, ...] = ("glb",)
    refine_steps: int = _bounded(0, 0, 1_000_000)  # of SDS on the colours of the finished mesh
    retexture_steps: int = _bounded(300, 1, 1_000_000)  # of SDS on the colours of a user's mesh


@dataclass(frozen=True)
class Config:
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


# What each quality changes; the defaults above are `standard`.
QUALITY_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {"optim.steps": 150, "mesh.grid_resolution": 96, "mesh.texture_size": 512},
    "standard": {},
    "high": {"optim.steps": 1200, "mesh.grid_resolution": 192, "mesh.texture_size": 2048},
}

# The same for `dreamfusion3d fit`, whose steps cost less than a prior's and whose photos show more detail.
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
