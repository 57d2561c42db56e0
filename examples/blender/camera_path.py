"""Write the animated camera of a Blender scene to a camera path for `dreamfusion3d render`. Runs inside Blender:

    blender shot.blend -b --python examples/blender/camera_path.py -- shot.json
    dreamfusion3d render out/SLUG --path shot.json --background transparent --out frames

The scene must contain the asset's GLB as imported: not moved, rotated or scaled. The video has the scene's resolution,
frames and frame rate. Lens shift, non-square pixels, depth of field and motion blur are ignored.
"""

import json
import math
import sys

import bpy

after = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
if len(after) != 1:
    sys.exit("error: give the output file after two dashes: -- shot.json")
scene = bpy.context.scene
camera = scene.camera
if camera is None or camera.data.type != "PERSP":
    sys.exit("error: the scene needs an active perspective camera")
scale = scene.render.resolution_percentage / 100
width, height = (round(side * scale) for side in (scene.render.resolution_x, scene.render.resolution_y))
frames = []
for frame in range(scene.frame_start, scene.frame_end + 1, scene.frame_step):
    scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    evaluated = camera.evaluated_get(graph)
    position, rotation, _ = evaluated.matrix_world.decompose()  # ignores the parent's scale
    pose = rotation.to_matrix().to_4x4()
    pose.translation = position
    projection = evaluated.calc_matrix_camera(graph, x=width, y=height)
    frames.append(
        {
            "camera_to_world": [value for row in pose for value in row],
            "fov": math.degrees(2 * math.atan(1 / projection[1][1])),
        }
    )
rate = scene.render.fps / scene.render.fps_base / scene.frame_step
with open(after[0], "w", encoding="utf-8") as file:
    json.dump(
        {
            "camera_type": "perspective",
            "render_width": width,
            "render_height": height,
            "fps": rate,
            "seconds": len(frames) / rate,
            "camera_path": frames,
        },
        file,
        indent=1,
    )
print(f"{len(frames)} frames of {width} x {height} pixels: {after[0]}")
