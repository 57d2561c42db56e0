"""The readers under bytes that coverage guides (atheris, libFuzzer): no traceback, no hang, no strange file.

    pip install atheris
    python -m benchmarks.reliability.guided manifest --seconds 300 --out out/guided

One of manifest, config, record, mesh. fuzz.py draws inputs by their grammar; here the code that is reached
decides which bytes are changed further. OUT/<target>/corpus is kept and grows from run to run. What breaks
is in OUT/<target>/, with the traceback on stderr, and the exit code is not 0.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["dreamfusion3d", "yaml", "trimesh"]):
    import trimesh.exchange.gltf
    import trimesh.exchange.obj
    import trimesh.exchange.ply
    import trimesh.exchange.stl  # noqa: F401  (read late by what is asked)

    import dreamfusion3d.mesh.io.load  # noqa: F401
    from tests.support import fuzzing

ROW = {"prompt": "a red mug", "name": "mug", "seeds": "1,2", "quality": "draft", "optim.steps": 20}
POINTS = fuzzing.PLY.replace(b"element face 1\nproperty list uchar int vertex_indices\n", b"")
SECONDS_OF_A_HANG = 2
LARGEST_INPUT = 4096  # bytes
LARGEST_MEMORY = 4096  # MB


def text_of(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


def ask_manifest(data: bytes, folder: Path) -> None:
    suffix = (".csv", ".jsonl", ".yaml", ".json")[data[0] % 4] if data else ".csv"
    fuzzing.check_manifest((suffix, text_of(data[1:])), folder)


def ask_config(data: bytes, folder: Path) -> None:
    fuzzing.check_config(text_of(data), folder)


def ask_record(data: bytes, folder: Path) -> None:
    """asset.json and a checkpoint: the first byte says where one ends."""
    cut = 1 + data[0] * 4 if data else 0
    fuzzing.check_checkpoint((data[1:cut], data[cut:]), folder)


def ask_mesh(data: bytes, folder: Path) -> None:
    suffix = (".ply", ".obj", ".stl", ".glb")[data[0] % 4] if data else ".ply"
    fuzzing.check_mesh((suffix, data[1:]), folder)


TARGETS: dict[str, tuple[Callable[[bytes, Path], None], list[bytes]]] = {
    "manifest": (
        ask_manifest,
        [
            b'\0prompt,seeds,optim.steps\na mug,"1,2",20\n',
            b"\1" + json.dumps(ROW).encode(),
            b"\2- {prompt: a mug, optim: {steps: 20}}\n",
            b"\3" + json.dumps([ROW]).encode(),
        ],
    ),
    "config": (ask_config, [b"optim: {steps: 20}\nmesh.formats: [glb, obj]\n", b"optim.steps=20"]),
    "record": (ask_record, [b'\4{"seed": 0}     \x02\0\0\0\0\0\0\0{}', b'\0\x08\0\0\0\0\0\0\0{"a": 1}PK\x03\x04']),
    "mesh": (
        ask_mesh,
        [b"\0" + POINTS, b"\0" + fuzzing.PLY, b"\1" + fuzzing.OBJ, b"\2" + fuzzing.STL, b"\3" + fuzzing.GLB],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=TARGETS)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    ask, seeds = TARGETS[given.target]
    place = given.out.resolve() / given.target
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds):
        (corpus / f"seed_{number}").write_bytes(seed)
    base = Path(tempfile.mkdtemp(prefix="guided_"))
    folder = base / "in"
    folder.mkdir()

    def one(data: bytes) -> None:
        with contextlib.redirect_stdout(sys.stderr):
            ask(data, folder)
        assert [p.name for p in base.iterdir()] == ["in"], "written outside of the folder"

    for seed in seeds:  # late imports take longer than a hang
        one(seed)
    atheris.Setup(
        [
            sys.argv[0],
            str(corpus),
            f"-max_total_time={given.seconds}",
            f"-max_len={LARGEST_INPUT}",
            f"-timeout={SECONDS_OF_A_HANG}",
            f"-rss_limit_mb={LARGEST_MEMORY}",
            f"-artifact_prefix={place}/",
            "-print_final_stats=1",
        ],
        one,
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
