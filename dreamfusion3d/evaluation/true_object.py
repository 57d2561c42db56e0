"""The true object of an asset: the ground-truth instance of its spec that is most similar to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache, cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Mesh, TexturedMesh
from dreamfusion3d.evaluation.ground_truth import color_by_part, ground_truth_mesh, ground_truth_voxels, palette_indices
from dreamfusion3d.evaluation.subject import EvalSubject
from dreamfusion3d.evaluation.voxels import normalize_mesh, voxel_iou
from dreamfusion3d.mesh.bake import interpolate_barycentric
from dreamfusion3d.mesh.bvh import BVH, build_bvh
from dreamfusion3d.mesh.checks import chamfer_distance
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec, object_from_instance, sample_objects_for_spec
from dreamfusion3d.procedural.renderer import sdf_normals

INSTANCE_SEED = 2_000_003
NUM_INSTANCES = 24  # per spec
NUM_MESHED = 3  # of them, by IoU
MESH_RESOLUTION = 128  # samples per side
RANKING_SAMPLES = 5000  # per surface, to choose among the meshed instances


@dataclass(frozen=True)
class TrueObject:
    """A ground-truth object in the comparison frame, in the colors of its spec.

    Points on it are faces and barycentric weights of its mesh.

    Attributes:
        spec: What the prompt specifies.
        objects: A batch of this one object.
        own_mesh: Its surface in the frame of its distance function.
    """

    spec: ObjectSpec
    objects: ObjectBatch
    own_mesh: Mesh

    @cached_property
    def surface(self) -> Mesh:
        return normalize_mesh(self.own_mesh)

    @cached_property
    def mesh(self) -> TexturedMesh:
        """The colored mesh; its faces are those of ``surface``."""
        return normalize_mesh(color_by_part(self.own_mesh, self.objects, 0, self.spec))

    @cached_property
    def bvh(self) -> BVH:
        return build_bvh(self.surface)

    def normals(self, face: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 3"]:
        """Unit gradients of the distance at points of the mesh."""
        points = torch.from_numpy(self._own_points(face, weights)).float()
        return sdf_normals(self.objects, points, torch.zeros(len(points), dtype=torch.int64)).numpy()

    def palette_indices(self, face: Int[np.ndarray, " n"], weights: Float[np.ndarray, "n 3"]) -> Int[np.ndarray, " n"]:
        """Index into `ObjectSpec.part_colors` at points of the mesh."""
        return palette_indices(self.objects, 0, self._own_points(face, weights), self.spec.material)

    def _own_points(self, face: np.ndarray, weights: np.ndarray) -> np.ndarray:
        return interpolate_barycentric(self.own_mesh.vertices, self.own_mesh.faces[face], weights)


def find_true_object(subject: EvalSubject, spec: ObjectSpec) -> TrueObject:
    """Return the object that the prior drew, or else the nearest instance. The asset must have a surface.

    Raises InputError if the record of the asset holds no such object.
    """
    if subject.instance is None:
        return nearest_true_object(subject, spec)
    try:
        objects = object_from_instance(_shape_of(spec), subject.instance)
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise InputError(f"asset.json in {subject.folder} records no instance of its prompt ({error})") from None
    return TrueObject(spec, objects, ground_truth_mesh(objects, 0, MESH_RESOLUTION))


def nearest_true_object(subject: EvalSubject, spec: ObjectSpec) -> TrueObject:
    """Return the instance of the spec with the smallest chamfer distance to the asset, among those of highest IoU.

    The asset must have a surface.
    """
    grids = true_voxels(spec)
    by_iou = sorted(range(len(grids)), key=lambda i: -voxel_iou(subject.voxels, grids[i]))
    candidates = [true_instance(spec, i) for i in by_iou[:NUM_MESHED]]
    return min(candidates, key=lambda c: chamfer_distance(subject.surface, c.surface, RANKING_SAMPLES))


def true_instance(spec: ObjectSpec, index: int) -> TrueObject:
    """Return instance ``index`` of the spec."""
    shape = _shape_of(spec)
    return TrueObject(spec, _instances(shape, NUM_INSTANCES)[0][[index]], _mesh(shape, index, MESH_RESOLUTION))


def true_voxels(spec: ObjectSpec) -> list[Bool[np.ndarray, "r r r"]]:
    """Voxel grids of the instances of the spec, in the comparison frame."""
    return _instances(_shape_of(spec), NUM_INSTANCES)[1]


def _shape_of(spec: ObjectSpec) -> ObjectSpec:
    """The spec without colors and material, which instances do not depend on."""
    return replace(spec, color="natural", second_color="default", material="plain")


@cache
def _instances(shape: ObjectSpec, count: int) -> tuple[ObjectBatch, list[Bool[np.ndarray, "r r r"]]]:
    objects = sample_objects_for_spec(shape, count, generator=torch.Generator().manual_seed(INSTANCE_SEED))
    return objects, [ground_truth_voxels(objects, i) for i in range(count)]


@cache
def _mesh(shape: ObjectSpec, index: int, resolution: int) -> Mesh:
    """Surface of one instance, in single precision: a megabyte each, kept for all columns of a report."""
    mesh = ground_truth_mesh(_instances(shape, NUM_INSTANCES)[0], index, resolution)
    return Mesh(mesh.vertices.astype(np.float32), mesh.faces.astype(np.int32))
