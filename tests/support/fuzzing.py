"""Hostile input, and what must hold: a result or one InputError, soon, and nothing written elsewhere.

`test_fuzz.py` asks for a few; ``python -m benchmarks.reliability.fuzz`` for thousands.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from dreamfusion3d.batch import manifest, plan
from dreamfusion3d.core.config import Config, resolve_config, setting_types
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.slug import check_prompt, slugify
from dreamfusion3d.pipelines.workspace import RunIdentity, Workspace

NASTY = st.sampled_from(
    [
        "../x",
        "..\\x",
        "/etc/passwd",
        "CON",
        "con.txt",
        "nul",
        "a" * 300,
        "\U0001f600\U0001f3f3️‍\U0001f308",
        "a mug",
        "A  mug!",
        "=cmd|' /C calc'!A0",
        "@SUM(1)",
        "+1",
        "-1",
        "<script>alert(1)</script>",
        "</script>",
        "\u202egnp.exe",
        "\ud800",
        "\x00",
        "a\nb",
        "ﬀ",
        "İ",
        "%s%n",
        "${HOME}",
        "$(id)",
        ".",
        "..",
        ".batch",
        "",
    ]
)
TEXT = NASTY | st.text(max_size=40)
SCALAR = st.none() | st.booleans() | st.integers() | st.floats() | TEXT
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=6
)
KEY = st.sampled_from([*manifest.MANIFEST_COLUMNS, *setting_types(), "optim", "mesh"]) | TEXT
ROW = st.dictionaries(KEY, VALUE, max_size=4) | st.builds(
    lambda row, prompt: {**row, "prompt": prompt}, st.dictionaries(KEY, SCALAR, max_size=3), TEXT
)
# text that is nearly a format: its own characters, in any order
NOISE = st.text(st.sampled_from("{}[]:,-&*!|>'\"#%@`\n\t ?=;0123456789.eE+~<abcprompt\\\u2028"), max_size=60)
YAMLS = st.one_of(
    NOISE,
    st.text(max_size=60),
    VALUE.map(lambda v: json.dumps(v)),
    st.lists(ROW, max_size=3).map(lambda v: json.dumps(v)),
)


def _csv(rows: list[dict[str, Any]]) -> str:
    import csv

    stream = io.StringIO()
    names = ["prompt", *dict.fromkeys(k for row in rows for k in row if k != "prompt")]
    writer = csv.writer(stream)
    writer.writerow(names)
    for row in rows:
        writer.writerow([row.get(name, "") for name in names])
    return stream.getvalue()


MANIFESTS = st.one_of(
    st.tuples(st.just(".csv"), NOISE.map(lambda s: "prompt," + s) | st.lists(ROW, max_size=3).map(_csv)),
    st.tuples(
        st.just(".jsonl"),
        NOISE | st.lists(ROW, max_size=3).map(lambda rows: "\n".join(json.dumps(row) for row in rows)),
    ),
    st.tuples(st.sampled_from([".yaml", ".json"]), YAMLS),
)


def check_manifest(drawn: tuple[str, str], folder: Path) -> None:
    suffix, text = drawn
    path = folder / f"m{suffix}"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        items = plan.expand_rows(path, manifest.read_manifest(path))
    except InputError:
        return
    names = [item.name for item in items]
    assert len(set(names)) == len(names), "two assets with one folder"
    assert all((folder / name).resolve().parent == folder.resolve() for name in names)


def check_config(text: str, folder: Path) -> None:
    path = folder / "c.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    with contextlib.suppress(InputError):
        assert isinstance(resolve_config(path=path), Config)
    with contextlib.suppress(InputError):
        resolve_config(sets=[text])


def check_prompts(text: str, folder: Path) -> None:
    try:
        prompt = check_prompt(text)
    except InputError:
        return
    name = slugify(prompt)
    assert 0 < len(name) <= 64 and set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789_"), name
    assert (folder / name).resolve().parent == folder.resolve() and slugify(prompt) == name


RECORD = (
    st.binary(max_size=60)
    | VALUE.map(lambda v: json.dumps(v).encode())
    | st.fixed_dictionaries({"prompt": VALUE, "seed": VALUE, "config": VALUE, "prior": VALUE, "files": VALUE}).map(
        lambda v: json.dumps(v).encode()
    )
)
HEADER = st.dictionaries(
    TEXT,
    st.fixed_dictionaries(
        {
            "dtype": st.sampled_from(["F32", "I64", "X"]),
            "shape": st.lists(st.integers(-2, 2**40), max_size=3),
            "data_offsets": st.lists(st.integers(-2, 2**40), max_size=3),
        }
    ),
    max_size=3,
)
CHECKPOINTS = st.binary(max_size=60) | st.builds(
    lambda header, body: struct.pack("<Q", len(header)) + header + body,
    HEADER.map(lambda v: json.dumps(v).encode()),
    st.binary(max_size=20),
)


def check_checkpoint(drawn: tuple[bytes, bytes], folder: Path) -> None:
    """A folder whose records and results are anything; nothing raises, nothing counts as done."""
    import torch

    from dreamfusion3d.batch import state
    from dreamfusion3d.core.types import Mesh
    from dreamfusion3d.guidance import load_guidance
    from dreamfusion3d.pipelines.stages import load_arrays
    from dreamfusion3d.training.checkpoint import OptimizationState

    record, weights = drawn
    space = Workspace(folder / "a")
    space.work.mkdir(parents=True, exist_ok=True)
    space.record_path.write_bytes(record)
    space.run_info_path.write_bytes(record)
    assert space.finished_record(RunIdentity("a mug", 0, Config(), "0" * 64)) is None
    space.owner_digest()
    state.read_asset_record(space)
    path = space.work / "checkpoint.safetensors"
    path.write_bytes(weights)
    model = torch.nn.Linear(1, 1)
    run = OptimizationState(
        model,
        torch.optim.Adam(model.parameters()),
        None,
        torch.Generator(),
        load_guidance(Config().guidance, device="cpu"),
    )
    assert "damaged" in (run.load(path) or "")
    (space.work / "mesh.npz").write_bytes(weights)
    assert load_arrays(space.work / "mesh.npz", Mesh) is None


PLY = b"ply\nformat ascii 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
PLY += b"element face 1\nproperty list uchar int vertex_indices\nend_header\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n"
OBJ = b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n"
STL = b"\0" * 80 + struct.pack("<I", 1) + struct.pack("<12fH", *range(12), 0)
GLB = b"glTF" + struct.pack("<III", 2, 40, 20) + b"JSON" + b'{"asset":{}}        '


def _spoilt(whole: bytes, at: int, put: bytes, cut: int) -> bytes:
    at %= len(whole)
    return whole[:at] + put + whole[at + cut :]


MESHES = st.tuples(
    st.sampled_from([(".ply", PLY), (".obj", OBJ), (".stl", STL), (".glb", GLB)]),
    st.integers(0, 400),
    st.binary(max_size=6) | st.sampled_from([b"9999999999", b"-1", b"nan", b"inf", b"1e39"]),
    st.integers(0, 8),
).map(lambda d: (d[0][0], _spoilt(d[0][1], d[1], d[2], d[3])))


def check_mesh(drawn: tuple[str, bytes], folder: Path) -> None:
    import numpy as np

    from dreamfusion3d.mesh.io.load import read_mesh

    suffix, data = drawn
    path = folder / f"m{suffix}"
    path.write_bytes(data)
    try:
        mesh = read_mesh(path)
    except InputError:
        return
    assert np.isfinite(mesh.vertices).all() and mesh.faces.max() < len(mesh.vertices)


POSE = st.sampled_from(
    [[1.0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 2, 0, 0, 0, 1], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 3e38]]]
)
LENS = st.sampled_from(
    [
        "fov",
        "fl_x",
        "fl_y",
        "w",
        "h",
        "render_width",
        "render_height",
        "fps",
        "seconds",
        "camera_angle_x",
        "camera_angle_y",
        "camera_type",
    ]
)
NUMBER = VALUE | st.sampled_from([0.5, 33, 1e-300, 10**400, 1e300, 64])
FRAME = st.dictionaries(LENS, NUMBER, max_size=2).flatmap(
    lambda more: (POSE | VALUE).map(lambda pose: {**more, "camera_to_world": pose})
)
PATHS = NOISE | st.builds(
    lambda frames, more, key: json.dumps({**more, key: frames}),
    st.lists(FRAME, max_size=3) | VALUE,
    st.dictionaries(LENS, NUMBER, max_size=4),
    st.sampled_from(["camera_path", "frames"]),
)


def check_path(text: str, folder: Path) -> None:
    import torch

    from dreamfusion3d.cameras.paths import interpolate_camera_path, read_camera_path

    path = folder / "p.json"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read_camera_path(path, up="z")
    except InputError:
        return
    for count in (None, 4):
        cameras = interpolate_camera_path(found, count, 64, 32)
        assert torch.isfinite(cameras.camera_to_world).all() and (cameras.focal > 0).all()
    assert found.image_size is None or min(found.image_size) > 0


# Name: the inputs, the check, the share of the harness's inputs.
TARGETS: dict[str, tuple[st.SearchStrategy[Any], Callable[[Any, Path], None], float]] = {
    "manifest": (MANIFESTS, check_manifest, 0.25),
    "path": (PATHS, check_path, 0.05),
    "config": (YAMLS, check_config, 0.25),
    "prompt": (TEXT, check_prompts, 0.2),
    "checkpoint": (st.tuples(RECORD, CHECKPOINTS), check_checkpoint, 0.1),
    "mesh": (MESHES, check_mesh, 0.15),
}
