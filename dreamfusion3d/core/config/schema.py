"""Every number of a run, in one frozen tree. ``config`` sets and checks them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

QUALITIES = ("draft", "standard", "high")
FormatName = Literal["glb", "gltf", "obj", "ply", "stl", "3mf", "usdz", "fbx"]  # mesh/formats writes them
GUIDANCES = ("sds", "csd", "vsd", "ism")
GUIDANCE_GROUP = "dreamfusion3d.guidance"  # entry points that add to them


def _number(default: Any, low: int | float, high: int | float) -> Any:
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
    size: int = _number(0, 0, 4096)  # pixels along a side that the prior is shown; 0: its native size
    batch: int = _number(64, 1, 4096)  # pictures that pass the network at once; fewer need less memory
    background: Literal["random", "white", "grey", "black"] = "random"  # behind pictures without opacity
    distilled_scale: float = _number(3.5, 0.0, 100.0)  # told to networks with a guidance embedding (Flux)
    compile: bool = False  # the network, by torch.compile
    graph: bool = False  # the network as a CUDA graph; also the embedded one's
    offload: bool = False  # the network stays in main memory, and its layers come to the device in turn


@dataclass(frozen=True)
class PromptConfig:
    """What the prior is asked. A prior that is told the camera needs neither view words nor Perp-Neg."""

    negative: str | None = None  # what the object must not be; in place of the empty prompt
    views: bool = True  # the sentences below, by camera; false: the bare prompt from all sides
    front: str = "{prompt}, front view"
    side: str = "{prompt}, side view"
    back: str = "{prompt}, back view"
    overhead: str = "{prompt}, overhead view"
    perp_neg: float = _number(0.0, 0.0, 10.0)  # strength of Perp-Neg; 0 is off, 1 as published


@dataclass(frozen=True)
class GuidanceConfig:
    kind: str = "sds"  # sds, csd, vsd, ism, or the name that an installed package gives to its own
    scale: float = _number(1.0, 0.0, 1000.0)  # uncond + scale (cond - uncond); 1 is plain conditional
    rescale: float = _number(0.8, 0.0, 1.0)  # towards the conditional's deviation (arXiv 2305.08891)
    joint_views: bool = True  # the views of a step are denoised together (a multi-view prior)
    weight: float = _number(20.0, 0.0, 1e6)  # of the guidance loss against the regularisers
    t_start: tuple[float, float] = _number((0.3, 0.98), 0.0, 1.0)  # window of times at the first step
    t_end: tuple[float, float] = _number((0.05, 0.3), 0.0, 1.0)  # and at the last
    # "window": uniform in it; "dreamtime": from t_start's end down to t_end's begin (arXiv 2306.12422)
    schedule: Literal["window", "dreamtime"] = "window"
    draws: int = _number(1, 1, 64)  # times and noises that a step's pictures are shown with
    weighting: Literal["reconstruction", "sigma2", "uniform"] = "reconstruction"  # guidance/protocol.py
    ism_interval: float = _number(0.05, 0.0, 1.0)  # between ism's two times
    ism_stride: float = _number(0.2, 0.01, 1.0)  # of ism's inversion
    score_width: int = _number(48, 1, 1024)  # channels of the network that vsd trains
    score_rate: float = _number(0.001, 0.0, 1.0)  # its learning rate


@dataclass(frozen=True)
class OptimConfig:
    steps: int = _number(300, 1, 1_000_000)
    views: int = _number(4, 1, 64)  # pictures a step
    antipodal: bool = False  # every camera of a step has its opposite in it, half a turn on and as high
    table_rate: float = _number(0.02, 0.0, 10.0)  # Adam, hash table
    mlp_rate: float = _number(0.002, 0.0, 10.0)  # Adam, MLP
    final_rate: float = _number(0.3, 0.0, 1.0)  # share of both rates that is left at the end
    sharpness: float = _number(4.0, 1.0, 1000.0)  # steepness of the density that the run ends with
    occupancy_every: int = _number(8, 1, 1000)  # steps between updates of the occupancy grid
    opacity_weight: float = _number(0.005, 0.0, 1e3)
    entropy_weight: float = _number(0.05, 0.0, 1e3)
    orientation_weight: float = _number(0.02, 0.0, 1e3)
    hollow_weight: float = _number(0.05, 0.0, 1e3)
    hollow_points: int = _number(2048, 1, 1_000_000)
    anchor_weight: float = _number(2.0, 0.0, 1e3)  # against leaving a prior's first guess where it was sure
    anchor_points: int = _number(2048, 1, 1_000_000)
    head_start: float = _number(0.5, 0.0, 0.99)  # share of steps and noise that a better start saves
    albedo_variation_weight: float = _number(0.3, 0.0, 1e3)
    normal_variation_weight: float = _number(0.02, 0.0, 1e3)


@dataclass(frozen=True)
class FieldConfig:
    """Size of a ``NerfField`` and what it starts from (lengths in scene units)."""

    start: Literal["prior", "blob"] = "prior"  # the prior's own first guess where it has one, or the blob
    levels: int = _number(6, 1, 32)
    features: int = _number(2, 1, 16)
    log2_table_size: int = _number(18, 4, 24)
    base_resolution: int = _number(8, 2, 1024)
    max_resolution: int = _number(60, 2, 8192)
    hidden: int = _number(32, 1, 1024)
    blob_density: float = _number(8.0, 0.0, 1000.0)  # DreamFusion, eq. 12: so that the object starts centred
    blob_radius: float = _number(0.55, 0.01, 2.0)
    density_scale: float = _number(6.0, 0.001, 1000.0)
    half_sums: bool = False  # the table's gradient adds up in float16 on a GPU: faster, three digits


@dataclass(frozen=True)
class RenderConfig:
    size: int = _number(64, 8, 2048)  # pixels, a square
    coarse_size: int = _number(32, 8, 2048)  # in the first part of the run, where shapes are vague
    coarse_share: float = _number(0.4, 0.0, 1.0)  # of the steps
    step_size: float = _number(0.02, 1e-4, 1.0)  # scene units between samples on a ray
    occupancy_resolution: int = _number(48, 8, 512)


@dataclass(frozen=True)
class PaintConfig:
    """Colours of a mesh whose shape is given: --retexture and --refine."""

    size: int = _number(128, 8, 2048)  # pixels of the rendered mesh; a prior makes them its own size
    rate: float = _number(0.02, 0.0, 10.0)  # Adam, hash table; the MLP has a tenth
    t_start: tuple[float, float] = _number((0.3, 0.9), 0.0, 1.0)  # --retexture: window of times, first step
    t_end: tuple[float, float] = _number((0.02, 0.3), 0.0, 1.0)  # --retexture: last step; --refine: all steps
    variation_weight: float = _number(0.5, 0.0, 1e3)  # against speckles, as optim.albedo_variation_weight
    levels: int = _number(8, 1, 32)
    log2_table_size: int = _number(18, 4, 24)
    base_resolution: int = _number(8, 2, 1024)
    max_resolution: int = _number(160, 2, 8192)
    hidden: int = _number(32, 1, 1024)


@dataclass(frozen=True)
class FitConfig:
    """`dreamfusion3d fit`: photos in place of a prompt. Steps, rates and sharpness are ``optim``'s."""

    rays: int = _number(2048, 16, 1_000_000)  # pixels a step, of all photos
    longest: int = _number(512, 8, 8192)  # pixels of a photo's longer side; larger ones are shrunk
    up: Literal["z", "y"] = "z"  # of the file's world
    scale: float = _number(0.0, 0.0, 1e6)  # scene units in a unit of the file; 0: by the photos
    offset: tuple[float, float, float] = _number((0.0, 0.0, 0.0), -1e6, 1e6)  # scene units, with a scale only
    holdout: int = _number(0, 0, 10_000)  # photos that are not fitted but judged by
    unseen_every: int = _number(5, 1, 1000)  # steps between pictures from poses that no photo has
    unseen_views: int = _number(2, 1, 64)  # such pictures at a time
    teacher: Literal["none", "judge", "clip"] = "none"  # of what they show: an image encoder (DietNeRF)
    semantic_weight: float = _number(0.01, 0.0, 1e3)  # of its loss; a prior's is guidance.weight
    semantic_until: float = _number(0.5, 0.0, 1.0)  # share of the steps; then the photos alone are fitted
    encoder: str | None = None  # folder or hub id of a CLIP model, for the teacher clip


@dataclass(frozen=True)
class MeshConfig:
    resolution: int = _number(128, 16, 1024)  # cells of the marching cubes along an edge of the scene
    faces: int = _number(20_000, 100, 10_000_000)
    texture_size: int = _number(1024, 16, 16384)
    texture_samples: int = _number(2, 1, 8)  # places asked along each side of a texel
    quads: bool = False  # QuadriFlow's, two triangles each; OBJ holds them as quads
    smoothing: int = _number(5, 0, 100)  # rounds of a smoothing that keeps the volume
    normal_map: bool = True  # of what simplification took away
    occlusion: bool = False  # ambient occlusion as a texture: slow
    lods: int = _number(1, 1, 8)  # levels of detail, the mesh itself included; each has half the faces
    collision: Literal["none", "hull", "parts"] = "none"
    collision_names: Literal["unreal", "godot"] = "unreal"
    height: float = _number(1.0, 1e-4, 1e5)  # metres
    formats: tuple[FormatName, ...] = ("glb",)
    refine_steps: int = _number(0, 0, 1_000_000)  # of SDS on the colours of the finished mesh
    retexture_steps: int = _number(300, 1, 1_000_000)  # of SDS on the colours of a user's mesh


@dataclass(frozen=True)
class Config:
    prior: PriorConfig = PriorConfig()
    prompts: PromptConfig = PromptConfig()
    guidance: GuidanceConfig = GuidanceConfig()
    paint: PaintConfig = PaintConfig()
    optim: OptimConfig = OptimConfig()
    field: FieldConfig = FieldConfig()
    render: RenderConfig = RenderConfig()
    fit: FitConfig = FitConfig()
    mesh: MeshConfig = MeshConfig()


# What each quality changes; the defaults above are `standard`.
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {"optim.steps": 150, "mesh.resolution": 96, "mesh.texture_size": 512},
    "standard": {},
    "high": {"optim.steps": 1200, "mesh.resolution": 192, "mesh.texture_size": 2048},
}

# The same for `dreamfusion3d fit`, whose steps cost less than a prior's and whose photos show more detail.
_FITTED: Mapping[str, Any] = {
    "optim.final_rate": 0.1, "field.start": "blob", "field.max_resolution": 128,
    "guidance.weight": 0.1, "guidance.t_start": (0.3, 0.9), "guidance.t_end": (0.02, 0.3),
}
FIT_PRESETS: Mapping[str, Mapping[str, Any]] = {
    "draft": {**PRESETS["draft"], **_FITTED, "optim.steps": 400},
    "standard": {**_FITTED, "optim.steps": 1500},
    "high": {
        **PRESETS["high"], **_FITTED, "optim.steps": 5000, "fit.rays": 4096, "fit.longest": 1024,
        "field.max_resolution": 256, "field.levels": 8, "field.log2_table_size": 19, "render.step_size": 0.01,
    },
}
