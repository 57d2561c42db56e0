"""Runs inside Blender: imports the file named last on the command line, prints what it finds as JSON.

A picture of it goes to the path in the argument before it.
"""

import json
import math
import sys

import numpy as np

# the glTF add-on of Blender 3.4 and earlier uses a name that numpy 1.24 removed
vars(np).setdefault("bool", bool)

import bpy  # noqa: E402
from mathutils import Vector  # noqa: E402

IMPORTERS = {
    "glb": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    "gltf": lambda path: bpy.ops.import_scene.gltf(filepath=path),
    "fbx": lambda path: bpy.ops.import_scene.fbx(filepath=path),
    "obj": lambda path: bpy.ops.wm.obj_import(filepath=path),
    "ply": lambda path: bpy.ops.import_mesh.ply(filepath=path),
    "stl": lambda path: bpy.ops.import_mesh.stl(filepath=path),
}


def corners_of(thing):
    return [thing.matrix_world @ vertex.co for vertex in thing.data.vertices]


def material_of(thing):
    """What a principled material says of itself; nothing for a mesh without one."""
    if not thing.data.materials:
        return {}
    tree = thing.data.materials[0].node_tree
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    links = shader.inputs["Base Color"].links
    source = links[0].from_node if links else None
    return {
        "metallic": shader.inputs["Metallic"].default_value,
        "roughness": shader.inputs["Roughness"].default_value,
        "base_colour_from": source.type if source else None,
        "base_colour_image": source.image.name if source and source.type == "TEX_IMAGE" else None,
        "output_linked": next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL").inputs[0].is_linked,
    }


def render(thing, path):
    """From the front, a little above, lit evenly, transparent around; Cycles needs no display."""
    low = Vector([min(c[i] for c in corners_of(thing)) for i in range(3)])
    high = Vector([max(c[i] for c in corners_of(thing)) for i in range(3)])
    size = (high - low).length
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    camera.data.type, camera.data.ortho_scale = "ORTHO", 1.2 * size
    camera.data.clip_end = 10 * size
    camera.location = (low + high) / 2 + Vector((0, -2 * size, 0))  # Blender's front is -Y
    camera.rotation_euler = (math.pi / 2, 0, 0)
    scene.collection.objects.link(camera)
    scene.camera = camera
    scene.world = bpy.data.worlds.new("white")
    scene.world.use_nodes = True
    scene.world.node_tree.nodes["Background"].inputs[0].default_value = (1, 1, 1, 1)
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 16, False
    scene.render.resolution_x = scene.render.resolution_y = 96
    scene.render.film_transparent = True
    scene.view_settings.view_transform = "Standard"
    scene.render.image_settings.color_mode = "RGBA"
    scene.render.filepath = path
    bpy.ops.render.render(write_still=True)


picture, model = sys.argv[-2:]
bpy.ops.wm.read_factory_settings(use_empty=True)
IMPORTERS[model.rpartition(".")[2]](model)
objects = list(bpy.data.objects)
thing = objects[0]
corners = corners_of(thing)
report = {
    "version": bpy.app.version_string,
    "objects": [[o.name, o.type, o.parent.name if o.parent else None] for o in objects],
    "low": [min(c[i] for c in corners) for i in range(3)],
    "high": [max(c[i] for c in corners) for i in range(3)],
    "dimensions": list(thing.dimensions),
    "faces": len(thing.data.polygons),
    "vertices": len(thing.data.vertices),
    "uv_layers": [layer.name for layer in thing.data.uv_layers],
    "colours": [[c.name, c.domain] for c in getattr(thing.data, "color_attributes", [])],
    "materials": [m.name for m in thing.data.materials],
    "material": material_of(thing),
    "images": [[i.name, list(i.size), i.packed_file is not None, i.colorspace_settings.name] for i in bpy.data.images],
    "properties": {key: value for key, value in thing.items() if isinstance(value, (str, int, float))},
    "unit": bpy.context.scene.unit_settings.system,
}
if thing.data.materials:
    render(thing, picture)
print("REPORT " + json.dumps(report))
