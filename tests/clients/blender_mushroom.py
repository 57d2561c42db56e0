"""Runs inside Blender: models a mushroom of two objects, and writes the GLB that is named last."""

import sys

import numpy as np

# the glTF add-on of Blender 3.4 and earlier uses a name that numpy 1.24 removed
vars(np).setdefault("bool", bool)

import bpy  # noqa: E402

bpy.ops.object.select_all(action="SELECT")
bpy.ops.object.delete()
bpy.ops.mesh.primitive_cone_add(vertices=48, radius1=0.16, radius2=0.11, depth=0.5, location=(0, 0, 0.25))
bpy.context.object.name = "stem"
bpy.ops.mesh.primitive_uv_sphere_add(segments=48, ring_count=24, radius=0.4, location=(0, 0, 0.45))
cap = bpy.context.object
cap.name = "cap"
for vertex in cap.data.vertices:  # a dome with a flat underside
    vertex.co.z = vertex.co.z * 0.8 if vertex.co.z > 0 else vertex.co.z * 0.15
bpy.ops.object.select_all(action="SELECT")
bpy.ops.object.shade_smooth()
bpy.ops.export_scene.gltf(filepath=sys.argv[-1], export_format="GLB")
