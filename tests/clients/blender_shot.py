"""Runs inside Blender: a scene with the GLB and a moving camera, kept as a file and rendered frame by frame.

The command line ends with the GLB, the scene's file and the folder of the frames.
"""

import sys

import numpy as np

# the glTF add-on of Blender 3.4 and earlier uses a name that numpy 1.24 removed
vars(np).setdefault("bool", bool)

import bpy  # noqa: E402
from mathutils import Vector  # noqa: E402

glb, kept, folder = sys.argv[-3:]
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=glb)
scene = bpy.context.scene
camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
camera.data.lens = 40
holder = bpy.data.objects.new("holder", None)  # as a rig has it: moved and scaled
holder.location, holder.scale = (0.1, 0, 0.2), (2, 2, 2)
camera.parent = holder
for thing in (holder, camera):
    scene.collection.objects.link(thing)
for frame, place in ((1, (0.6, -1.1, 0.3)), (3, (-0.9, -0.5, 0.9)), (5, (-0.2, 1.2, 0.1))):
    camera.location = place
    camera.rotation_euler = (Vector((-0.05, 0.0, 0.15)) - camera.location).to_track_quat("-Z", "Y").to_euler()
    for path in ("location", "rotation_euler"):
        camera.keyframe_insert(path, frame=frame)
scene.camera, scene.frame_start, scene.frame_end = camera, 1, 5
scene.render.resolution_x, scene.render.resolution_y = 120, 80
scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 4, False
scene.render.film_transparent = True
scene.render.image_settings.color_mode = "RGBA"
scene.render.filepath = folder + "/"
bpy.ops.wm.save_as_mainfile(filepath=kept)
bpy.ops.render.render(animation=True)
