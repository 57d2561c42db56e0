"""The GLB on a web page: what model-viewer draws in Chromium is what our thumbnail shows."""

from __future__ import annotations

import contextlib
import http.server
import io
import json
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Empty, Queue

import numpy as np
import pytest
from PIL import Image

from dreamfusion3d.cameras.orbit import ORBIT_FOV_DEG, orbit_cameras
from dreamfusion3d.core.types import TexturedMesh
from dreamfusion3d.mesh.io.axes import rotate_up_axis
from dreamfusion3d.mesh.io.gltf import write_glb
from dreamfusion3d.rendering.mesh_renderer import render_mesh
from dreamfusion3d.rendering.turntable import THREE_QUARTER_AZIMUTH_DEG, THREE_QUARTER_ELEVATION_DEG, fit_mesh_to_views
from tests.support.client_asset import EXTRAS, NAME, SIZE, ball
from tests.support.programs import package, program

pytestmark = pytest.mark.clients

PIXELS = 256
IOU = 0.97  # of the silhouettes; the ball on its back has 0.71
COLOUR = 0.07  # mean difference of the quarters' colours, at equal brightness
BRIGHTNESS = 1.2  # at most this many times as bright
SECONDS = 150.0


@contextlib.contextmanager
def page(glb: bytes, html: str, script: bytes) -> Iterator[tuple[str, Queue]]:
    """A server of the page; what it posts comes out of the queue as (path, body)."""
    posted: Queue = Queue()
    served = {
        "/": ("text/html", html.encode()),
        "/asset.glb": ("model/gltf-binary", glb),
        "/viewer.js": ("text/javascript", script),
    }

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            kind, body = served.get(self.path, ("text/plain", b""))
            self.send_response(200 if self.path in served else 404)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            posted.put((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", posted
    finally:
        server.shutdown()
        server.server_close()


def viewer_says(textured: TexturedMesh, camera: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Straight RGBA in [0, 1] of model-viewer's picture, and the size in metres that it measures."""
    chromium = program("chromium", "chromium-browser", "google-chrome")
    script = package("@google/model-viewer") / "dist" / "model-viewer.min.js"
    write_glb(textured, folder / "asset.glb", NAME, EXTRAS)
    html = Path(__file__).with_name("viewer.html").read_text().replace("CAMERA", camera, 2)
    with page((folder / "asset.glb").read_bytes(), html, script.read_bytes()) as (url, posted):
        browser = subprocess.Popen(
            [
                chromium,
                "--headless=new",
                "--no-sandbox",
                "--use-angle=swiftshader",
                "--enable-unsafe-swiftshader",
                "--force-device-scale-factor=1",
                "--window-size=300,300",
                "--disable-dev-shm-usage",
                f"--user-data-dir={folder / 'profile'}",
                url,
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        said: dict[str, bytes] = {}
        try:
            while "/picture" not in said:
                path, body = posted.get(timeout=SECONDS)
                assert path != "/error", body
                said[path] = body
        except Empty:
            pytest.fail(f"the page said nothing for {SECONDS:.0f} s; so far: {list(said)}")
        finally:
            browser.terminate()
            browser.wait(timeout=30)
    picture = Image.open(io.BytesIO(said["/picture"])).convert("RGBA").resize((PIXELS, PIXELS))
    return np.asarray(picture) / 255, np.array(json.loads(said["/size"]))


def as_the_thumbnail(textured: TexturedMesh) -> tuple[TexturedMesh, np.ndarray, str]:
    """The mesh placed before the thumbnail's camera, its picture (straight RGBA), and model-viewer's
    attributes for the same camera.

    The picture has the bare base colour: model-viewer's room is lit evenly, the thumbnail by a lamp.
    """
    camera = orbit_cameras([THREE_QUARTER_AZIMUTH_DEG], THREE_QUARTER_ELEVATION_DEG, height=PIXELS, width=PIXELS)
    shown = fit_mesh_to_views(textured, camera)
    picture = render_mesh(shown, camera, supersample=3, shading=False)
    opacity = picture.opacity[0, ..., None].numpy()
    rgb = picture.rgb[0].numpy() / np.maximum(opacity, 1e-6)
    distance = float(camera.distance[0])
    attributes = (
        'camera-target="0m 0m 0m" '
        f'camera-orbit="{THREE_QUARTER_AZIMUTH_DEG}deg {90 - THREE_QUARTER_ELEVATION_DEG}deg {distance}m" '
        f'field-of-view="{ORBIT_FOV_DEG}deg" max-field-of-view="90deg" max-camera-orbit="auto auto 100m"'
    )
    return shown, np.concatenate([rgb, opacity], -1), attributes


def silhouette_iou(a: np.ndarray, b: np.ndarray) -> float:
    one, two = a[..., 3] > 0.5, b[..., 3] > 0.5
    return float((one & two).sum() / max((one | two).sum(), 1))


def quarters(picture: np.ndarray) -> np.ndarray:
    """Mean colours of the solid pixels left and right, above and below."""
    half = PIXELS // 2
    means = []
    for rows in (slice(None, half), slice(half, None)):
        for columns in (slice(None, half), slice(half, None)):
            part = picture[rows, columns]
            solid = part[..., 3] > 0.99
            means.append(part[solid][:, :3].mean(0) if solid.any() else np.zeros(3))
    return np.array(means)


def colours_differ(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """How many times as bright one is as the other, and the mean difference at equal brightness."""
    one, two = quarters(a), quarters(b)
    ratio = one.mean() / max(two.mean(), 1e-6)
    return max(ratio, 1 / max(ratio, 1e-6)), float(np.abs(one - two * ratio).mean())


def test_the_page_shows_what_the_thumbnail_shows(tmp_path: Path) -> None:
    shown, ours, attributes = as_the_thumbnail(ball())
    theirs, size = viewer_says(shown, attributes, tmp_path)
    assert silhouette_iou(ours, theirs) > IOU
    brightness, difference = colours_differ(ours, theirs)
    assert brightness < BRIGHTNESS and difference < COLOUR, (quarters(ours), quarters(theirs))
    scale = np.ptp(shown.vertices[:, 1]) / np.ptp(ball().vertices[:, 1])
    np.testing.assert_allclose(size, SIZE * scale, rtol=0.02)


def test_the_comparison_would_tell() -> None:
    """Thresholds that a wrong axis, a mirrored one or a lost texture fails, by our own pictures."""
    _, right, _ = as_the_thumbnail(ball())
    camera = orbit_cameras([THREE_QUARTER_AZIMUTH_DEG], THREE_QUARTER_ELEVATION_DEG, height=PIXELS, width=PIXELS)

    def drawn(mesh: TexturedMesh) -> np.ndarray:
        picture = render_mesh(fit_mesh_to_views(mesh, camera), camera, shading=False)
        opacity = picture.opacity[0, ..., None].numpy()
        return np.concatenate([picture.rgb[0].numpy() / np.maximum(opacity, 1e-6), opacity], -1)

    mesh = ball()
    lying = replace(mesh, vertices=rotate_up_axis(mesh.vertices, "z"), normals=rotate_up_axis(mesh.normals, "z"))
    assert silhouette_iou(right, drawn(lying)) < IOU
    about = np.array([-1, 1, -1], np.float32)
    backwards = replace(mesh, vertices=mesh.vertices * about, normals=mesh.normals * about)
    assert colours_differ(right, drawn(backwards))[1] > COLOUR
    white, black = (replace(mesh, texture=np.full_like(mesh.texture, value)) for value in (255, 0))
    assert colours_differ(right, drawn(white))[1] > COLOUR
    assert colours_differ(right, drawn(black))[0] > BRIGHTNESS
    # a texture taken for linear, and encoded once more
    encoded = replace(mesh, texture=np.round(255 * (mesh.texture / 255) ** (1 / 2.2)).astype(np.uint8))
    assert colours_differ(right, drawn(encoded))[0] > BRIGHTNESS
    assert colours_differ(right, drawn(mesh)) == pytest.approx((1, 0), abs=0.01)
