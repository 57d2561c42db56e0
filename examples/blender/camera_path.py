"""Writes the scene's camera, frame by frame, as a path for `dreamfusion3d render`. Runs inside Blender:

    blender shot.blend -b --python examples/blender/camera_path.py -- shot.json
    dreamfusion3d render out/SLUG --path shot.json --background transparent --out frames

The asset stands in the scene as its GLB was imported: not moved, turned or scaled. The film has the scene's
size, frames and rate. Not taken over: lens shift, pixels that are no squares, depth of field, motion blur.
"""

import json
import math
import sys

import bpy

after = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
if len(after) != 1:
    sys.exit("error: name the file to write behind two dashes: -- shot.json")
scene = bpy.context.scene
camera = scene.camera
if camera is None or camera.data.type != "PERSP":
    sys.exit("error: the scene needs an active camera, a perspective one")
share = scene.render.resolution_percentage / 100
width, height = (round(side * share) for side in (scene.render.resolution_x, scene.render.resolution_y))
frames = []
for frame in range(scene.frame_start, scene.frame_end + 1, scene.frame_step):
    scene.frame_set(frame)
    graph = bpy.context.evaluated_depsgraph_get()
    seen = camera.evaluated_get(graph)
    place, turn, _ = seen.matrix_world.decompose()  # a parent's scale is no part of a camera
    pose = turn.to_matrix().to_4x4()
    pose.translation = place
    lens = seen.calc_matrix_camera(graph, x=width, y=height)
    frames.append(
        {
            "camera_to_world": [value for row in pose for value in row],
            "fov": math.degrees(2 * math.atan(1 / lens[1][1])),
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
