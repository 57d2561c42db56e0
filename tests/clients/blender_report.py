"""Runs inside Blender: imports the GLB named last on the command line, prints what it finds as JSON."""

import json
import sys

import numpy as np

# the glTF add-on of Blender 3.4 and earlier uses a name that numpy 1.24 removed
np.bool = getattr(np, "bool", bool)

import bpy  # noqa: E402

bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[-1])
objects = list(bpy.data.objects)
thing = objects[0]
corners = [thing.matrix_world @ vertex.co for vertex in thing.data.vertices]
shader = next(n for n in thing.data.materials[0].node_tree.nodes if n.type == "BSDF_PRINCIPLED")
image = bpy.data.images[0]
report = {
    "version": bpy.app.version_string,
    "objects": [[o.name, o.type, o.parent.name if o.parent else None] for o in objects],
    "low": [min(c[i] for c in corners) for i in range(3)],
    "high": [max(c[i] for c in corners) for i in range(3)],
    "dimensions": list(thing.dimensions),
    "faces": len(thing.data.polygons),
    "uv_layers": [layer.name for layer in thing.data.uv_layers],
    "materials": [m.name for m in thing.data.materials],
    "metallic": shader.inputs["Metallic"].default_value,
    "roughness": shader.inputs["Roughness"].default_value,
    "base_colour_linked": shader.inputs["Base Color"].is_linked,
    "images": [[i.name, list(i.size), i.packed_file is not None, i.colorspace_settings.name]
               for i in [image]],
    "properties": {key: value for key, value in thing.items() if isinstance(value, (str, int, float))},
    "unit": bpy.context.scene.unit_settings.system,
}
print("REPORT " + json.dumps(report))
