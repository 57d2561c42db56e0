"""The viewer of a run: shows what `run_reader` finds in its folder and sends control requests to it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines import run_reader
from dreamfusion3d.pipelines.live_control import ControlRequest, read_control_request, write_control_request
from dreamfusion3d.pipelines.live_field import mark_watched

REFRESH_SECONDS = 1.0
SURFACE_TIME_FRACTION = 0.1  # of the time may go to extracting surfaces: the run needs the cores
MAX_GLB_BYTES = 256 << 20  # sent to a browser
CAMERA_COLOR, SERIES_COLOR = (120, 130, 150), "#2266cc"


class Viewer:
    """Control panel and scene of one run on a viser ``server``; `refresh` updates them."""

    def __init__(self, server: Any, run: Path, say: Callable[[str], None]) -> None:
        self.server, self.run, self.say = server, run, say
        self.field_reader = run_reader.RunFieldReader(run)
        self.file_stamps: dict[str, Any] = {}
        self.next_surface_time = 0.0  # earliest time of the next surface extraction
        self.lock = threading.Lock()  # button callbacks run on other threads
        self._add_cameras()
        self._build_panel(run_reader.read_run_status(run))

    def _add_cameras(self) -> None:
        from viser.transforms import SO3

        scene = self.server.scene
        scene.set_up_direction("+y")
        self.server.initial_camera.position = (1.8, 1.5, 4.2)
        self.server.initial_camera.look_at = (0.0, 0.0, 0.0)
        for i, camera in enumerate(run_reader.training_frustums()):
            pose = {"wxyz": SO3.from_matrix(camera["rotation"]).wxyz, "position": camera["position"]}
            name, fov, aspect = f"/cameras/{i}", camera["fov"], camera["aspect"]
            scene.add_camera_frustum(name, fov, aspect, scale=0.12, color=CAMERA_COLOR, **pose)

    def _build_panel(self, status: run_reader.RunStatus) -> None:
        """Build the panel. Prompts and replies are untrusted: they go into text fields, never into Markdown."""
        gui = self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, control_layout="fixed")
        self.status_text = gui.add_text("Status", status.summary, disabled=True)
        self.progress_bar = gui.add_progress_bar(0.0)
        self.pause_button = gui.add_button("Pause")
        self.resume_button = gui.add_button("Resume")
        self.prompt_input = gui.add_text("Prompt", str(status.request.prompt or status.prompt), multiline=True)
        self.use_prompt_button = gui.add_button("Use this prompt")
        self.reply_text = gui.add_text("Reply", "", multiline=True, disabled=True, visible=False)
        self.gradient_plot = gui.add_uplot(
            (np.array([0.0, 1.0]), np.array([0.0, 0.0])),
            ({"label": "step"}, {"label": "gradient norm", "stroke": SERIES_COLOR, "width": 1}),
            title="Gradient norm",
            scales={"x": {"time": False}},
            aspect=1.6,
            visible=False,
        )
        self.preview_image: Any = None
        self.caption = gui.add_markdown("")
        self.pause_button.on_click(lambda _: self.send_request(paused=True))
        self.resume_button.on_click(lambda _: self.send_request(paused=False))
        self.use_prompt_button.on_click(lambda _: self.send_request(prompt=self.prompt_input.value))

    def send_request(self, paused: bool | None = None, prompt: str | None = None) -> None:
        """Write a control request; arguments that are None keep their current values."""
        with self.lock:
            current = read_control_request(self.run / "work")
            paused = current.paused if paused is None else paused
            prompt = current.prompt if prompt is None else prompt
            try:
                write_control_request(self.run / "work", ControlRequest(paused, prompt))
            except OSError as error:
                self.say(f"cannot send the request to the run: {error}")
        self.refresh()

    def refresh(self) -> None:
        """Show what has changed. Failures are reported, and retried when the file changes."""
        with self.lock:
            status = run_reader.read_run_status(self.run)
            if status.accepts_requests:
                mark_watched(self.run / "work")
            self._update_panel(status)
            self._show_preview(status)
            glb = run_reader.find_finished_glb(self.run) if status.finished else None
            path = glb or run_reader.find_latest_field(self.run)
            if path is not None and time.monotonic() >= self.next_surface_time and self._has_changed("surface", path):
                start_time = time.monotonic()
                try:
                    self._show_surface(path)
                    self.next_surface_time = time.monotonic() + (time.monotonic() - start_time) / SURFACE_TIME_FRACTION
                except (InputError, OSError, ValueError) as error:
                    self.say(f"warning: {error}")

    def _update_panel(self, status: run_reader.RunStatus) -> None:
        self.status_text.value = status.summary
        total = status.steps[-1].get("total") if status.steps else None
        if status.finished or total:
            self.progress_bar.value = 100.0 if status.finished else min(100.0, 100 * status.steps[-1]["step"] / total)
        self.pause_button.disabled = not status.accepts_requests or status.request.paused
        self.resume_button.disabled = not status.accepts_requests or not status.request.paused
        self.use_prompt_button.disabled = self.prompt_input.disabled = not status.accepts_requests
        self._update_reply(status)
        stage = status.steps[-1]["stage"] if status.steps else ""
        steps = [s for s in status.steps if s["stage"] == stage and isinstance(s.get("gradient_norm"), (int, float))]
        points = [(s["step"], s["gradient_norm"]) for s in steps]
        if len(points) > 1 and self.file_stamps.get("plot") != (stage, points[-1]):
            self.file_stamps["plot"] = stage, points[-1]
            self.gradient_plot.data = tuple(np.array(points, float).T.copy())
            self.gradient_plot.visible = True

    def _update_reply(self, status: run_reader.RunStatus) -> None:
        prompt, reply = status.request.prompt, status.reply
        if prompt is None:
            line = ""
        elif reply.get("prompt") != prompt:
            line = "" if not status.accepts_requests else "sent; waiting for the run to reply"
        elif reply.get("accepted"):
            line = f"in use from step {reply.get('step')}. {reply.get('message', '')}".strip()
        else:
            line = f"rejected: {reply.get('message', '')}"
        self.reply_text.visible, self.reply_text.value = bool(line), line

    def _show_preview(self, status: run_reader.RunStatus) -> None:
        import imageio.v3 as iio

        is_texture_stage = bool(status.steps) and status.steps[-1]["stage"] == "paint"
        path = self.run / "work" / ("paint_preview.png" if is_texture_stage else "preview.png")
        if not path.exists() or not self._has_changed("preview", path):
            return
        try:
            image = iio.imread(path)[..., :3]
        except (OSError, ValueError) as error:
            self.say(f"warning: {path.name} cannot be shown: {error}")
            return
        if self.preview_image is None:
            self.preview_image = self.server.gui.add_image(image, label="Preview of a recent step")
        else:
            self.preview_image.image = image

    def _show_surface(self, path: Path) -> None:
        """Show a finished GLB, scaled to the scene, or the surface of a field."""
        import trimesh

        if path.suffix == ".glb":
            if path.stat().st_size > MAX_GLB_BYTES:
                raise InputError(f"{path.name} is larger than {MAX_GLB_BYTES >> 20} MB; open it in another program")
            bounds = np.asarray(trimesh.load(path, force="scene").bounds)
            scale = 1.3 / float((bounds[1] - bounds[0]).max())
            shift = tuple(-scale * bounds.mean(0))
            self.server.scene.add_glb("/asset", path.read_bytes(), scale=scale, position=shift)
            self.caption.content = "Showing the finished asset."
        else:
            mesh, colors = run_reader.extract_preview_surface(self.field_reader.read(path))
            if not len(mesh.faces):
                raise InputError("the field has no surface yet")
            shape = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colors, process=False)
            self.server.scene.add_mesh_trimesh("/asset", shape)
            state = {"live": "current", "checkpoint": "last saved"}.get(path.stem, "trained")
            self.caption.content = f"Showing the {state} field, {len(mesh.faces):,} triangles."

    def _has_changed(self, name: str, path: Path) -> bool:
        status = path.stat()
        stamp = (path.name, status.st_mtime_ns, status.st_size, status.st_ino)
        previous, self.file_stamps[name] = self.file_stamps.get(name), stamp
        return previous != stamp


def serve_run(run: Path, port: int, on_ready: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Serve a run until interrupted; ``on_ready`` receives the URL."""
    from dreamfusion3d.viewer.proxy import guarded_server

    status = run_reader.read_run_status(run)  # raises before the server starts
    with guarded_server(port, f"dreamfusion3d: {status.prompt[:60]}") as (server, guard):
        viewer = Viewer(server, run, say)
        on_ready(guard.url)
        while True:
            try:
                viewer.refresh()
            except (InputError, OSError) as error:  # the folder may be briefly unavailable
                say(f"warning: {error}")
            time.sleep(REFRESH_SECONDS)
