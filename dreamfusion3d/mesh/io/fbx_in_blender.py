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
