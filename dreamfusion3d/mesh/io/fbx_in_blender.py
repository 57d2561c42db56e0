"""Convert GLB to FBX inside Blender. Arguments after --: GLB, FBX, up axis, meters per unit."""

import sys

import numpy as np

# the glTF add-on of Blender 3.4 and earlier uses np.bool, which numpy 1.24 removed
vars(np).setdefault("bool", bool)

import bpy  # noqa: E402
from mathutils import Matrix  # noqa: E402

glb, fbx, up, meters_per_unit = sys.argv[sys.argv.index("--") + 1 :]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=glb)
# The unit of the scene is that of the file: coordinates and the declared unit then agree, and no object
# is left with a scale of 100.
bpy.context.scene.unit_settings.scale_length = float(meters_per_unit)
for thing in bpy.data.objects:
    thing.data.transform(Matrix.Scale(1 / float(meters_per_unit), 4))
# The exporter of FBX drops a texture that feeds its input through a single channel: one gray image for each.
for material in bpy.data.materials:
    tree = material.node_tree
    sockets = next(node for node in tree.nodes if node.type == "BSDF_PRINCIPLED").inputs
    for channel, name in ((1, "Roughness"), (2, "Metallic")):
        if sockets[name].is_linked:
            source = sockets[name].links[0].from_node.inputs[0].links[0].from_node.image
            pixels = np.empty(len(source.pixels), np.float32)
            source.pixels.foreach_get(pixels)
            gray = bpy.data.images.new(f"{material.name}_{name.lower()}", *source.size)
            gray.colorspace_settings.name = source.colorspace_settings.name
            texels = pixels.reshape(-1, 4)  # a view
            texels[:, :3] = texels[:, channel, None]
            gray.pixels.foreach_set(pixels.ravel())
            gray.pack()
            node = tree.nodes.new("ShaderNodeTexImage")
            node.image = gray
            tree.links.new(node.outputs["Color"], sockets[name])
for image in bpy.data.images:
    image.filepath_raw = f"//{image.name}.png"  # the name of the embedded image
bpy.ops.export_scene.fbx(
    filepath=fbx,
    # Blender's axes are CoordinateFrame("z"): right-handed, +Z up, front -Y
    axis_up="Y" if up == "y" else "Z",
    axis_forward="-Z" if up == "y" else "Y",
    bake_space_transform=True,  # into the vertices: the object has no rotation
    apply_scale_options="FBX_SCALE_ALL",
    path_mode="COPY",
    embed_textures=True,
    use_custom_props=True,
    mesh_smooth_type="OFF",
    bake_anim=False,
)
