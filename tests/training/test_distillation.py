"""The SDS loop against a prior that is perfect, so that what goes wrong is the loop's fault."""

from __future__ import annotations

import math

import pytest
import torch

from dreamfusion3d.core.config import Config, override_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.fields.initialization import FieldInit
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.priors.oracle import OraclePrior
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects
from dreamfusion3d.rendering.occupancy_grid import OccupancyGrid
from dreamfusion3d.rendering.volume import RenderSettings, render_field
from dreamfusion3d.training import distillation as loop
from dreamfusion3d.training.distillation import distill_field

SIZE, VIEWS, STEPS = 24, 2, 40


@pytest.fixture(scope="module")
def prior() -> OraclePrior:
    generator = torch.Generator().manual_seed(0)
    props = sample_objects("mushroom", 0, "normal", 2, generator=generator)
    return OraclePrior(
        props,
        ObjectSpec("mushroom", "red"),
        num_camera_sets=2,
        views=VIEWS,
        resolution=SIZE,
        generator=generator,
        elevation_range_deg=(0.0, 20.0),
    )


def config(steps: int = STEPS) -> Config:
    """Coarse, and in larger steps than the defaults: a run of a few seconds."""
    return override_config(
        Config(),
        {
            "optim.steps": steps,
            "optim.num_views": VIEWS,
            "optim.lr_hashgrid": 0.05,
            "optim.lr_mlp": 0.01,
            "guidance.scale": 1.0,
            "guidance.rescale": 0.0,
            "render.resolution": SIZE,
            "render.coarse_resolution": SIZE,
            "render.step_size": 0.05,
            "render.occupancy_grid_resolution": 16,
            "field.num_levels": 4,
            "field.log2_table_size": 12,
            "field.max_resolution": 32,
            "field.hidden_dim": 16,
        },
    )


def field(seed: int = 0) -> NerfField:
    return NerfField(config().field, generator=torch.Generator().manual_seed(seed))


def begin(prior, nerf, steps=STEPS, seed=1, sets=None, **options):
    return distill_field(
        nerf,
        prior,
        prior.encode_text(["a mushroom", ""]),
        override_config(config(steps), sets or {}),
        generator=torch.Generator().manual_seed(seed),
        sample_cameras=prior.sample_cameras,
        **options,
    )


def same(a: NerfField, b: NerfField) -> bool:
    mine, theirs = a.state_dict(), b.state_dict()
    return all(torch.equal(mine[k], theirs[k]) for k in mine)


def pictures(nerf, prior):
    occupancy = OccupancyGrid(16)
    with torch.no_grad():
        return render_field(
            nerf,
            prior.bank,
            occupancy=occupancy,
            generator=torch.Generator().manual_seed(0),
            settings=RenderSettings(step_size=0.05),
        )


def silhouette_iou(nerf, prior) -> float:
    """Of the field, over all cameras of the bank, with the prop that it is most like."""
    mine = pictures(nerf, prior).opacity[:, None] > 0.5
    theirs = prior.pictures[:, :, 3] > 0
    return float(((mine & theirs).sum((0, 2, 3)) / (mine | theirs).sum((0, 2, 3))).max())


def test_a_field_becomes_the_prop(prior):
    nerf = field()
    before = silhouette_iou(nerf, prior)
    steps = list(begin(prior, nerf))
    assert [s.index for s in steps] == list(range(1, STEPS + 1)) and steps[0].total == STEPS
    assert all(math.isfinite(s.gradient_norm) and s.note is None for s in steps)
    after = silhouette_iou(nerf, prior)
    assert after > 0.75 and after > before + 0.1
    assert float(nerf.sharpness) == pytest.approx(config().optim.sharpness)
    picture = pictures(nerf, prior)
    colour = picture.rgb[picture.opacity > 0.9].mean(0)
    assert colour[0] > 1.5 * colour[2], "the cap is red"


def test_the_same_seed_takes_the_same_steps(prior):
    first, again, other = field(), field(), field()
    for nerf, seed in ((first, 1), (again, 1), (other, 2)):
        list(begin(prior, nerf, steps=4, seed=seed))
    assert same(first, again) and not same(first, other)


@pytest.mark.parametrize("kind", ["sds", "vsd"])
def test_a_resumed_run_takes_the_same_steps(prior, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(loop, "KEEP_EVERY", 6)
    sets = {"guidance.type": kind, "guidance.vsd_width": 8}  # vsd has a state of its own
    whole, part = field(), field()
    list(begin(prior, whole, steps=12, sets=sets))
    checkpoint = tmp_path / "checkpoint.safetensors"
    for step in begin(prior, part, steps=12, checkpoint=checkpoint, sets=sets):
        if step.index == 8:
            break  # two steps after the checkpoint
    resumed = field(seed=5)
    steps = list(begin(prior, resumed, steps=12, seed=99, checkpoint=checkpoint, sets=sets))
    assert [s.index for s in steps] == list(range(7, 13)) and steps[0].note is None
    assert same(whole, resumed)


@pytest.mark.parametrize("data", [b"", b"no tensors", None])
def test_a_damaged_checkpoint_is_named_and_left(prior, tmp_path, monkeypatch, data):
    monkeypatch.setattr(loop, "KEEP_EVERY", 2)
    checkpoint = tmp_path / "checkpoint.safetensors"
    if data is None:  # a whole one, of a larger field
        larger = override_config(config(3), {"field.hidden_dim": 32})
        nerf = NerfField(larger.field, generator=torch.Generator())
        text = prior.encode_text(["", ""])
        list(
            distill_field(
                nerf,
                prior,
                text,
                larger,
                generator=torch.Generator(),
                checkpoint=checkpoint,
                sample_cameras=prior.sample_cameras,
            )
        )
        assert checkpoint.exists()
    else:
        checkpoint.write_bytes(data)
    undisturbed, nerf = field(), field()
    list(begin(prior, undisturbed, steps=3))
    steps = list(begin(prior, nerf, steps=3, checkpoint=checkpoint))
    assert [s.index for s in steps] == [1, 2, 3]
    assert steps[0].note is not None and "starting over" in steps[0].note
    assert checkpoint.name in steps[0].note and steps[1].note is None
    assert same(nerf, undisturbed)


class Stumbling:
    """The same prior, with answers that are not numbers at some calls."""

    def __init__(self, prior: OraclePrior, bad: set[int]) -> None:
        self.prior, self.bad, self.calls = prior, bad, 0
        self.name, self.sha256 = prior.name, prior.sha256
        self.camera_conditioned = prior.camera_conditioned
        self.check_prompt, self.encode_text = prior.check_prompt, prior.encode_text
        self.alpha_sigma, self.encode = prior.alpha_sigma, prior.encode
        self.sample_cameras = prior.sample_cameras

    def denoise(self, x_t, t, text, cameras, *, views=1):
        self.calls += 1
        x0 = self.prior.denoise(x_t, t, text, cameras, views=views)
        return x0 * float("nan") if self.calls in self.bad else x0


def test_one_bad_step_is_taken_back(prior, monkeypatch):
    monkeypatch.setattr(loop, "KEEP_EVERY", 3)
    nerf = field()
    steps = list(begin(Stumbling(prior, {5}), nerf, steps=8))
    assert [s.index for s in steps] == [1, 2, 3, 4, 3, 4, 5, 6, 7, 8]
    notes = [s.note for s in steps if s.note]
    assert notes == ["step 5 gave a gradient that is not finite; went back to step 3"]
    assert all(torch.isfinite(p).all() for p in nerf.parameters())


def test_a_prior_that_never_answers_ends_the_run(prior):
    with pytest.raises(InputError, match="not finite and gave up"):
        list(begin(Stumbling(prior, set(range(100))), field(), steps=8))


def test_a_checkpoint_of_another_guidance_is_left(prior, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "KEEP_EVERY", 2)
    checkpoint = tmp_path / "checkpoint.safetensors"
    vsd = {"guidance.type": "vsd", "guidance.vsd_width": 8}
    list(begin(prior, field(), steps=3, checkpoint=checkpoint, sets=vsd))
    steps = list(begin(prior, field(), steps=3, checkpoint=checkpoint))
    assert steps[0].index == 1 and "of another run" in steps[0].note


def test_vsd_takes_a_bad_step_back_with_what_it_learnt(prior, monkeypatch):
    monkeypatch.setattr(loop, "KEEP_EVERY", 3)
    nerf, sets = field(), {"guidance.type": "vsd", "guidance.vsd_width": 8}
    steps = list(begin(Stumbling(prior, {1, 5}), nerf, steps=6, sets=sets))
    assert [s.index for s in steps] == [0, 1, 2, 3, 3, 4, 5, 6]
    assert all(torch.isfinite(p).all() for p in nerf.parameters())


class Hearing:
    """The same prior; remembers the times and the number of its questions."""

    def __init__(self, prior: OraclePrior) -> None:
        self.prior, self.times = prior, []
        self.name, self.sha256, self.sample_cameras = prior.name, prior.sha256, prior.sample_cameras
        self.check_prompt, self.encode_text = prior.check_prompt, prior.encode_text
        self.alpha_sigma, self.encode = prior.alpha_sigma, prior.encode
        self.camera_conditioned = prior.camera_conditioned

    def denoise(self, x_t, t, text, cameras, *, views=1):
        self.times.append(float(t[0]))
        return self.prior.denoise(x_t, t, text, cameras, views=views)


def test_draws_ask_anew_and_dreamtime_never_grows(prior):
    heard = Hearing(prior)
    list(begin(heard, field(), steps=2, sets={"guidance.noise_samples": 3}))
    assert len(set(heard.times)) == 6
    heard = Hearing(prior)
    list(begin(heard, field(), steps=5, sets={"guidance.schedule": "dreamtime"}))
    assert heard.times == sorted(heard.times, reverse=True)
    assert heard.times[0] == pytest.approx(0.98) and heard.times[-1] == pytest.approx(0.05)


def test_a_better_start_saves_steps_and_noise(prior):
    fog, grey = torch.full((9, 9, 9), 2.0), torch.full((9, 9, 9, 3), 0.5)
    start = FieldInit.from_initial_volume(fog, grey, torch.device("cpu"))
    generator = torch.Generator().manual_seed(0)
    for begun, steps, first in ((None, 8, 0.98), (start, 6, 0.98 + (0.05 - 0.98) / 4)):
        heard = Hearing(prior)
        nerf = NerfField(config().field, generator=generator, init=begun)
        sets = {
            "guidance.t_range_start": (0.98, 0.98),
            "guidance.t_range_end": (0.05, 0.05),
            "optim.init_skip_fraction": 0.25,
        }
        taken = list(begin(heard, nerf, steps=8, sets=sets))
        assert len(taken) == steps and taken[0].total == steps
        assert heard.times[0] == pytest.approx(first) and heard.times[-1] == pytest.approx(0.05)


@pytest.mark.parametrize("begins_as", ["blob", "solid", "fog"])
def test_only_a_blob_is_hollowed(prior, monkeypatch, begins_as):
    """A user's solid and a prior's fog have said what is inside: hollowed, a mushroom came in two halves."""
    asked = []
    hidden = loop.hidden_density
    monkeypatch.setattr(loop, "hidden_density", lambda *a, **k: asked.append(1) or hidden(*a, **k))
    body, grey = torch.full((9, 9, 9), 0.2), torch.full((9, 9, 9, 3), 0.5)
    makers = {"blob": lambda *given: None, "solid": FieldInit.from_solid, "fog": FieldInit.from_initial_volume}
    start = makers[begins_as](body, grey, torch.device("cpu"))
    nerf = NerfField(config().field, generator=torch.Generator().manual_seed(0), init=start)
    list(begin(prior, nerf, steps=1))
    assert bool(asked) == (begins_as == "blob")


def test_the_global_generator_is_left_alone(prior):
    torch.manual_seed(4)
    before = torch.get_rng_state()
    list(begin(prior, field(), steps=2))
    assert torch.equal(torch.get_rng_state(), before)


def test_a_preview_shows_the_views_side_by_side(prior, tmp_path):
    import imageio.v3 as iio

    path = tmp_path / "preview.png"
    list(begin(prior, field(), steps=1, preview=path))
    picture = iio.imread(path)
    assert picture.shape == (2 * SIZE, 2 * SIZE * VIEWS, 3)
    assert abs(int(picture[0, 0, 0]) - 217) <= 1, "the ground is light grey"


class Listening:
    """A dense ball that remembers where its density was asked for."""

    def density(self, x):
        self.asked = x
        return 80 * torch.sigmoid((0.6 - x.norm(dim=-1)) * 40)

    def albedo(self, x):
        return torch.full((len(x), 3), 0.5)


def test_only_what_no_view_sees_is_hollowed():
    from dreamfusion3d.cameras.orbit import orbit_cameras
    from dreamfusion3d.rendering.volume import render_field_with_aux

    ball, occupancy = Listening(), OccupancyGrid(32)
    occupancy.update(ball.density, generator=torch.Generator().manual_seed(0), step=0)
    cameras = orbit_cameras([0.0, 180.0], 0.0, height=48, width=48)
    generator = torch.Generator().manual_seed(0)
    _, detail = render_field_with_aux(
        ball, cameras, occupancy=occupancy, generator=generator, settings=RenderSettings(step_size=0.02)
    )
    density = loop.hidden_density(ball, occupancy, cameras, detail, 4000, generator=generator)
    points, cell = ball.asked, 2 / 32
    assert points.shape == (4000, 3) and torch.equal(density, ball.density(points))
    front = points[points[:, :2].norm(dim=1) < 0.2, 2].abs()  # the cameras look along z
    assert front.max() < 0.6 - cell and front.max() > 0.3 and front.min() < 0.1
    side = points[points[:, 1:].norm(dim=1) < 0.1, 0].abs()  # seen edge-on, so hidden up to the rim
    assert side.max() > front.max() - cell

    nothing = OccupancyGrid(32)
    nothing.update(lambda x: torch.zeros(len(x)), generator=generator, step=0)
    density = loop.hidden_density(ball, nothing, cameras, detail, 10, generator=generator)
    assert torch.equal(density, torch.zeros(10))
