"""GLB files with the node names that game engines recognize for levels of detail and collision.

Both are separate files beside the plain GLB, because a viewer draws every node: all levels and the hull
would be drawn on top of each other. Unity groups ``<name>_LOD0``, ``_LOD1``, ... under one root; Unreal
uses ``UCX_<mesh>_00`` as the collision of that mesh; Godot turns ``-convcolonly`` into a static body.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb

from dreamfusion3d.core.files import write_bytes
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.mesh.io.gltf import GENERATOR, as_trimesh, finalize_meshes, has_orm_image, pbr_material

CollisionNaming = Literal["unreal", "godot"]


def write_lods(levels: Sequence[TexturedMesh], path: Path, name: str) -> list[Path]:
    """Write ``<name>_LOD0`` and so on, finest first, under one root ``name``; return the files written."""
    parts = {f"{name}_LOD{i}": level for i, level in enumerate(levels)}
    _write_scene(parts, path, root=name)
    return [path]


def write_collision(
    textured: TexturedMesh, bodies: Sequence[Mesh], path: Path, name: str, naming: CollisionNaming = "unreal"
) -> list[Path]:
    """Write the mesh ``name`` and its collision bodies, without material; return the files written."""
    pattern = {"unreal": "UCX_{name}_{i:02d}", "godot": "{name}_{i:02d}-convcolonly"}[naming]
    parts: dict[str, TexturedMesh | Mesh] = {name: textured}
    parts |= {pattern.format(name=name, i=i): body for i, body in enumerate(bodies)}
    _write_scene(parts, path, root=None)
    return [path]


def _write_scene(parts: dict[str, Any], path: Path, root: str | None) -> None:
    scene = trimesh.Scene()
    for name, part in parts.items():
        if isinstance(part, TexturedMesh):
            mesh = as_trimesh(part, pbr_material(part, name), name)
        else:
            mesh = trimesh.Trimesh(part.vertices.astype(np.float32), part.faces, process=False)
        scene.add_geometry(mesh, node_name=name, geom_name=name)

    shared = [name for name, part in parts.items() if isinstance(part, TexturedMesh) and has_orm_image(part)]

    def postprocess(tree: dict[str, Any]) -> None:
        tree["asset"] = {"version": "2.0", "generator": GENERATOR}
        nodes = [{"name": mesh["name"], "mesh": i} for i, mesh in enumerate(tree["meshes"])]
        root_nodes = [{"name": root, "children": list(range(len(nodes)))}] if root else []
        tree["nodes"] = [*nodes, *root_nodes]
        tree["scenes"] = [{"nodes": [len(nodes)] if root else list(range(len(nodes)))}]
        tree["scene"] = 0
        tree.pop("extras", None)
        finalize_meshes(tree, shared)

    write_bytes(path, export_glb(scene, include_normals=True, tree_postprocessor=postprocess))
