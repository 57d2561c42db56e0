"""A run in viser: what sight.py finds, and what control.py takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.pipelines import run_reader
from dreamfusion3d.pipelines.live_control import Wish, ask, wish_of
from dreamfusion3d.pipelines.live_field import look_at

SECONDS_BETWEEN_LOOKS = 1.0
SURFACE_SHARE = 0.1  # of the time is spent on surfaces: the run needs the cores
LARGEST_GLB = 256 << 20  # bytes that are sent to a browser
CAMERA_COLOUR, SERIES_COLOUR = (120, 130, 150), "#2266cc"


class Window:
    """The panel and the scene of one run, on a viser ``server``; ``look`` brings them up to date."""

    def __init__(self, server: Any, run: Path, say: Callable[[str], None]) -> None:
        self.server, self.run, self.say = server, run, say
        self.fields = run_reader.Fields(run)
        self.stamps: dict[str, Any] = {}
        self.shown: Any = None
        self.rested = 0.0  # when the next surface may be made
        self.turn = threading.Lock()  # buttons are pressed on other threads
        self._scene()
        self._panel(run_reader.state_of(run))

    def _scene(self) -> None:
        from viser.transforms import SO3

        scene = self.server.scene
        scene.set_up_direction("+y")
        self.server.initial_camera.position = (1.8, 1.5, 4.2)
        self.server.initial_camera.look_at = (0.0, 0.0, 0.0)
        for i, camera in enumerate(run_reader.frustums()):
            scene.add_camera_frustum(
                f"/cameras/{i}", camera["fov"], camera["aspect"], scale=0.12, color=CAMERA_COLOUR,
                wxyz=SO3.from_matrix(camera["rotation"]).wxyz, position=camera["position"],
            )

    def _panel(self, state: run_reader.State) -> None:
        """Prompts and replies are others' words: they stand in text fields, never in Markdown."""
        gui = self.server.gui
        gui.configure_theme(show_logo=False, show_share_button=False, control_layout="fixed")
        self.status = gui.add_text("Status", state.line, disabled=True)
        self.bar = gui.add_progress_bar(0.0)
        self.pause = gui.add_button("Pause")
        self.go_on = gui.add_button("Go on")
        self.prompt = gui.add_text("Prompt", str(state.wish.prompt or state.prompt), multiline=True)
        self.use = gui.add_button("Use this prompt")
        self.reply = gui.add_text("Answer", "", multiline=True, disabled=True, visible=False)
        self.plot = gui.add_uplot(
            (np.array([0.0, 1.0]), np.array([0.0, 0.0])),
            ({"label": "step"}, {"label": "gradient norm", "stroke": SERIES_COLOUR, "width": 1}),
            title="Gradient norm", scales={"x": {"time": False}}, aspect=1.6, visible=False,
        )
        self.preview: Any = None
        self.about = gui.add_markdown("")
        self.pause.on_click(lambda _: self.wish(paused=True))
        self.go_on.on_click(lambda _: self.wish(paused=False))
        self.use.on_click(lambda _: self.wish(prompt=self.prompt.value))

    def wish(self, paused: bool | None = None, prompt: str | None = None) -> None:
        """Writes what a button asks for; the rest stays as it was asked."""
        with self.turn:
            now = wish_of(self.run / "work")
            wanted = Wish(now.paused if paused is None else paused, now.prompt if prompt is None else prompt)
            try:
                ask(self.run / "work", wanted)
            except OSError as error:
                self.say(f"the run cannot be asked: {error}")
        self.look()

    def look(self) -> None:
        """Shows what has changed. What cannot be shown is said, and tried again when it changes."""
        with self.turn:
            state = run_reader.state_of(self.run)
            if state.steered:
                look_at(self.run / "work")
            self._tell(state)
            self._show_preview(state)
            path = (run_reader.glb_of(self.run) if state.done else None) or run_reader.latest_field(self.run)
            if path is not None and time.monotonic() >= self.rested and self._changed("surface", path):
                begun = time.monotonic()
                try:
                    self._show_surface(path)
                    self.rested = time.monotonic() + (time.monotonic() - begun) / SURFACE_SHARE
                except (InputError, OSError, ValueError) as error:
                    self.say(f"warning: {error}")

    def _tell(self, state: run_reader.State) -> None:
        self.status.value = state.line
        total = state.steps[-1].get("total") if state.steps else None
        if state.done or total:
            self.bar.value = 100.0 if state.done else min(100.0, 100 * state.steps[-1]["step"] / total)
        self.pause.disabled = not state.steered or state.wish.paused
        self.go_on.disabled = not state.steered or not state.wish.paused
        self.use.disabled = self.prompt.disabled = not state.steered
        self._answer(state)
        stage = state.steps[-1]["stage"] if state.steps else ""
        points = [(s["step"], s["gradient_norm"]) for s in state.steps
                  if s["stage"] == stage and isinstance(s.get("gradient_norm"), (int, float))]
        if len(points) > 1 and self.stamps.get("plot") != (stage, points[-1]):
            self.stamps["plot"] = stage, points[-1]
            self.plot.data = tuple(np.array(points, float).T.copy())
            self.plot.visible = True

    def _answer(self, state: run_reader.State) -> None:
        wanted, reply = state.wish.prompt, state.reply
        if wanted is None:
            line = ""
        elif reply.get("prompt") != wanted:
            line = "" if not state.steered else "asked; the run has not answered yet"
        elif reply.get("accepted"):
            line = f"used from step {reply.get('step')} on. {reply.get('message', '')}".strip()
        else:
            line = f"not taken: {reply.get('message', '')}"
        self.reply.visible, self.reply.value = bool(line), line

    def _show_preview(self, state: run_reader.State) -> None:
        import imageio.v3 as iio

        painting = bool(state.steps) and state.steps[-1]["stage"] == "paint"
        path = self.run / "work" / ("paint_preview.png" if painting else "preview.png")
        if not path.exists() or not self._changed("preview", path):
            return
        try:
            picture = iio.imread(path)[..., :3]
        except (OSError, ValueError) as error:
            self.say(f"warning: {path.name} cannot be shown: {error}")
            return
        if self.preview is None:
            self.preview = self.server.gui.add_image(picture, label="Preview of a recent step")
        else:
            self.preview.image = picture

    def _show_surface(self, path: Path) -> None:
        """The finished GLB, at the size of the scene, or the field's surface."""
        import trimesh

        if path.suffix == ".glb":
            if path.stat().st_size > LARGEST_GLB:
                raise InputError(f"{path.name} is larger than {LARGEST_GLB >> 20} MB: open it elsewhere")
            bounds = np.asarray(trimesh.load(path, force="scene").bounds)
            scale = 1.3 / float((bounds[1] - bounds[0]).max())
            shift = tuple(-scale * bounds.mean(0))
            new = self.server.scene.add_glb("/asset", path.read_bytes(), scale=scale, position=shift)
            self.about.content = "Shown: the finished asset."
        else:
            mesh, colours = run_reader.surface(self.fields.read(path))
            if not len(mesh.faces):
                raise InputError("the field holds no surface yet")
            shape = trimesh.Trimesh(mesh.vertices, mesh.faces, vertex_colors=colours, process=False)
            new = self.server.scene.add_mesh_trimesh("/asset", shape)
            when = {"live": "a moment ago", "checkpoint": "as last kept"}.get(path.stem, "as trained")
            self.about.content = f"Shown: the field {when}, {len(mesh.faces):,} triangles."
        self.shown = new

    def _changed(self, name: str, path: Path) -> bool:
        status = path.stat()
        stamp = (path.name, status.st_mtime_ns, status.st_size, status.st_ino)
        changed = self.stamps.get(name) != stamp
        self.stamps[name] = stamp
        return changed


def watch(run: Path, port: int, ready: Callable[[str], None], say: Callable[[str], None]) -> None:
    """Serves the run until the process is interrupted; ``ready`` is told the address."""
    from dreamfusion3d.viewer.proxy import guarded_server

    state = run_reader.state_of(run)  # before anything listens
    with guarded_server(port, f"dreamfusion3d: {state.prompt[:60]}") as (server, guard):
        window = Window(server, run, say)
        ready(guard.url)
        while True:
            try:
                window.look()
            except (InputError, OSError) as error:  # the folder may be away for a moment
                say(f"warning: {error}")
            time.sleep(SECONDS_BETWEEN_LOOKS)
