"""Every model family against diffusers: denoising, text, latents, loading by folder and by hub id."""

from __future__ import annotations

import sys
from pathlib import Path

import diffusers
import pytest
import torch

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.core.config import Config, PriorConfig, override_config
from dreamfusion3d.core.errors import InputError
from dreamfusion3d.core.types import Render
from dreamfusion3d.fields.nerf import NerfField
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pretrained.diffusion_prior import DiffusionPrior
from dreamfusion3d.priors.pretrained.noise_schedule import DiscreteNoiseSchedule, RectifiedFlowSchedule
from dreamfusion3d.priors.protocol import Prior
from dreamfusion3d.priors.view_prompts import encode_prompts
from dreamfusion3d.training.distillation import distill_field
from tests.support import families

SIZE = 16  # pixels of the tiny networks' images
PROMPT = "a red mug, front view"
each_family = pytest.mark.parametrize("family", families.FAMILIES)
# a U-Net, both transformers, and joint views: enough for tests that are independent of the rest
each_network = pytest.mark.parametrize("family", ["sd", "sd3_no_t5", "flux", "mvdream"])


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {family: families.build(family, root / family) for family in families.FAMILIES}


def load(folder: Path | str, **settings) -> DiffusionPrior:
    prior = load_prior(PriorConfig(name=str(folder), resolution=SIZE, **settings))
    assert isinstance(prior, DiffusionPrior) and isinstance(prior, Prior)
    return prior


def noise(prior: DiffusionPrior, count: int = 2, seed: int = 0) -> torch.Tensor:
    shape = prior.encode(make_render(count), generator=torch.Generator()).shape
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def make_render(count: int = 2, size: int = 24) -> Render:
    generator = torch.Generator().manual_seed(3)
    opacity = torch.rand(count, size, size, generator=generator)
    rgb = torch.rand(count, size, size, 3, generator=generator) * opacity[..., None]
    return Render(rgb, opacity, torch.zeros_like(opacity))


def load_pipeline(folder: Path, family: str):
    classes = {"mvdream": diffusers.StableDiffusionPipeline}
    pipeline_class = classes.get(family, diffusers.DiffusionPipeline)
    absent = {"tokenizer_3": None, "text_encoder_3": None} if family == "sd3_no_t5" else {}
    return pipeline_class.from_pretrained(folder, local_files_only=True, **absent)


@each_family
@pytest.mark.parametrize(("dtype", "close"), [("float32", 1e-5), ("bfloat16", 1e-2)])
def test_denoise_x0_equals_the_schedulers(folders, family, dtype, close):
    """The raw output of the network through diffusers' own step gives the same x_0."""
    prior = load(folders[family], dtype=dtype)
    cameras, text = turntable_cameras(1, size=24), prior.encode_text([PROMPT])
    x, outputs = noise(prior, 1), []
    network = prior.network
    prior.network = lambda *args: outputs.append(network(*args)) or outputs[-1]  # type: ignore[assignment]
    for time in (0.05, 0.5, 0.95):
        x0 = prior.denoise(x, torch.full((1,), time), text, cameras)
        output = outputs[-1].float()
        if isinstance(prior.noise_schedule, RectifiedFlowSchedule):  # a step to zero noise ends at x_0
            scheduler = diffusers.FlowMatchEulerDiscreteScheduler()
            scheduler.set_timesteps(sigmas=[time])
            expected = scheduler.step(output, scheduler.timesteps[0], x).prev_sample
        else:
            scheduler = diffusers.DDIMScheduler.from_pretrained(
                folders[family] / "scheduler", clip_sample=False, thresholding=False
            )
            scheduler.set_timesteps(1000)
            expected = scheduler.step(output, round(time * 999), x).pred_original_sample
        assert x0.dtype == torch.float32 and x0.shape == x.shape
        torch.testing.assert_close(x0, expected, atol=close, rtol=close)


@each_family
def test_alpha_sigma_adds_noise_like_the_scheduler(folders, family):
    prior = load(folders[family])
    x, eps, t = noise(prior, 1), noise(prior, 1, seed=1), torch.tensor([0.6])
    alpha, sigma = prior.alpha_sigma(t)
    if isinstance(prior.noise_schedule, DiscreteNoiseSchedule):
        scheduler = diffusers.DDPMScheduler.from_pretrained(folders[family] / "scheduler")
        expected = scheduler.add_noise(x, eps, (t * 999).round().long())
        torch.testing.assert_close(alpha**2 + sigma**2, torch.ones(1))
    else:
        expected = 0.4 * x + 0.6 * eps
        torch.testing.assert_close(alpha + sigma, torch.ones(1))
    torch.testing.assert_close(alpha * x + sigma * eps, expected)


@each_family
def test_encode_text_equals_the_pipelines(folders, family):
    prior, pipeline = load(folders[family]), load_pipeline(folders[family], family)
    text = prior.encode_text([PROMPT])
    if family in ("sdxl", "sd3", "sd3_no_t5"):
        embedding, _, pooled, _ = pipeline.encode_prompt(
            PROMPT, *([None] if family == "sdxl" else [None, None]), do_classifier_free_guidance=False
        )
    elif family.startswith("flux"):
        length = 512 if family == "flux" else 256
        embedding, pooled, _ = pipeline.encode_prompt(PROMPT, None, max_sequence_length=length)
    elif family == "if":
        embedding, pooled = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False)[0], None
    else:
        embedding, pooled = pipeline.encode_prompt(PROMPT, "cpu", 1, False)[0], None
    torch.testing.assert_close(text.embedding, embedding, atol=1e-4, rtol=1e-3)
    if pooled is None:
        assert text.pooled is None
    else:
        torch.testing.assert_close(text.pooled, pooled)


@pytest.mark.parametrize("family", ["sd", "sdxl", "if", "sd3", "flux"])
def test_network_is_called_like_in_the_pipeline(folders, family, monkeypatch):
    """In one step of the pipeline from the same noise, its network returns the same output."""
    prior, pipeline = load(folders[family]), load_pipeline(folders[family], family)
    x, calls, ours = noise(prior, 1), {}, []
    module = pipeline.transformer if hasattr(pipeline, "transformer") else pipeline.unet
    forward, network = module.forward, prior.network

    def spy(*args, **named):
        calls["t"] = named["timestep"] if "timestep" in named else args[1]
        calls["x"] = named["hidden_states"] if "hidden_states" in named else args[0]
        calls["output"] = forward(*args, **named)[0]
        return (calls["output"],)

    def packed(latents):
        return torch.nn.functional.pixel_unshuffle(latents, 2).flatten(2).transpose(1, 2)

    def unpacked(tokens):
        return torch.nn.functional.pixel_shuffle(tokens.transpose(1, 2).unflatten(2, (4, 4)), 2)

    monkeypatch.setattr(module, "forward", spy)
    options = {"latents": packed(x) if family == "flux" else x, "output_type": "latent"}
    if family == "if":
        options = {"output_type": "pt"}
        monkeypatch.setattr(type(pipeline), "prepare_intermediate_images", lambda *_: x)
    pipeline.set_progress_bar_config(disable=True)
    scale = 3.5 if family == "flux" else 1.0  # only Flux's network takes it
    pipeline(PROMPT, num_inference_steps=1, height=SIZE, width=SIZE, guidance_scale=scale, **options)
    steps = 999 if isinstance(prior.noise_schedule, DiscreteNoiseSchedule) else prior.noise_schedule.num_timesteps
    x_t = unpacked(calls["x"]) if family == "flux" else calls["x"]  # some samplers scale it first
    prior.network = lambda *args: ours.append(network(*args)) or ours[-1]  # type: ignore[assignment]
    t = (calls["t"].flatten()[:1] / steps).float()
    prior.denoise(x_t, t, prior.encode_text([PROMPT]), turntable_cameras(1, size=24))
    expected = unpacked(calls["output"]) if family == "flux" else calls["output"][:, : x.shape[1]]
    torch.testing.assert_close(ours[0], expected)


@each_family
def test_encode_equals_the_pipelines_latents(folders, family):
    prior = load(folders[family], background="white")
    render = make_render(2, SIZE)
    render.rgb.requires_grad_(True)
    x = prior.encode(render, generator=torch.Generator().manual_seed(0))
    rgb = render.over(torch.ones(1, 3)).permute(0, 3, 1, 2) * 2 - 1
    if family == "if":
        expected = rgb
    else:
        vae = diffusers.AutoencoderKL.from_pretrained(folders[family] / "vae")
        z = vae.encode(rgb).latent_dist.sample(torch.Generator().manual_seed(0))
        expected = (z - (vae.config.shift_factor or 0.0)) * vae.config.scaling_factor
    torch.testing.assert_close(x, expected)
    x.sum().backward()
    gradient = render.rgb.grad
    assert gradient is not None and torch.isfinite(gradient).all() and gradient.abs().sum() > 0


def test_encode_shares_one_background_per_call(folders):
    clear = Render(torch.zeros(3, SIZE, SIZE, 3), torch.zeros(3, SIZE, SIZE), torch.zeros(3, SIZE, SIZE))
    prior, generator = load(folders["if"]), torch.Generator().manual_seed(0)
    first, second = (prior.encode(clear, generator=generator) for _ in range(2))
    assert torch.equal(first, first[:1, :, :1, :1].expand_as(first)) and not torch.equal(first, second)
    for name, level in (("white", 1.0), ("gray", 0.0), ("black", -1.0)):
        x = load(folders["if"], background=name).encode(clear, generator=generator)
        assert torch.equal(x, torch.full_like(x, level))


@each_network
def test_load_prior_by_hub_id_from_the_cache(folders, family, tmp_path):
    name = families.cache(folders[family], tmp_path / "hub")
    by_id, by_folder = load(name), load(folders[family])
    assert by_id.name == "acme/tiny" and by_folder.name == folders[family].name
    assert by_id.sha256 == by_folder.sha256
    x, t, cameras = noise(by_id), torch.full((2,), 0.5), turntable_cameras(2, size=24)
    text = by_id.encode_text([PROMPT, ""])
    assert torch.equal(by_id.denoise(x, t, text, cameras), by_folder.denoise(x, t, text, cameras))


@each_network
def test_cfg_denoise_at_scale_zero_and_one(folders, family):
    prior = load(folders[family])
    cameras, t, x = turntable_cameras(2, size=24), torch.full((2,), 0.5), noise(prior)
    text = prior.encode_text([PROMPT, "a blue chair"])
    for scale, row in ((0.0, 1), (1.0, 0)):
        alone = prior.denoise(x, t, text.select(slice(row, row + 1)).repeat(2), cameras, views=2)
        mixed = CFGDenoiser(prior, text, cameras, views=2)(x, t, scale)
        torch.testing.assert_close(mixed, alone, atol=1e-5, rtol=1e-4)
    other = CFGDenoiser(prior, text, cameras, views=2)(x, t, 0.0)
    assert not torch.allclose(other, alone, atol=1e-6), "the prompt matters"


@each_family
def test_distill_field_with_each_family(folders, family):
    prior = load(folders[family])
    config = override_config(
        Config(),
        {
            "optim.steps": 2,
            "optim.num_views": 2,
            "guidance.scale": 7.5,
            "render.resolution": SIZE,
            "render.coarse_resolution": SIZE,
            "render.step_size": 0.1,
            "render.occupancy_grid_resolution": 8,
            "field.num_levels": 2,
            "field.log2_table_size": 8,
            "field.hidden_dim": 8,
            "prompts.perp_neg": 1.0,
        },
    )
    field = NerfField(config.field, generator=torch.Generator().manual_seed(0))
    text = encode_prompts(prior, "a red mug", config.prompts)
    before = {k: v.clone() for k, v in field.state_dict().items()}
    steps = list(distill_field(field, prior, text, config, generator=torch.Generator().manual_seed(0)))
    assert len(steps) == 2 and all(s.warning is None and s.gradient_norm > 0 for s in steps)
    assert any(not torch.equal(v, before[k]) for k, v in field.state_dict().items())


def test_denoise_in_chunks_of_batch_size(folders):
    for family, joint in (("sd", 1), ("mvdream", 2)):
        whole, chunked = load(folders[family]), load(folders[family], batch_size=3)
        sizes = []
        network = chunked.network
        chunked.network = lambda x, *rest, n=network, s=sizes: s.append(len(x)) or n(x, *rest)  # type: ignore[assignment]
        x, t, cameras = noise(whole, 4), torch.full((4,), 0.5), turntable_cameras(4, size=24)
        text = whole.encode_text([PROMPT] * 4)
        expected = whole.denoise(x, t, text, cameras, views=2)
        torch.testing.assert_close(chunked.denoise(x, t, text, cameras, views=2), expected)
        assert sizes == ([3, 1] if joint == 1 else [2, 2]), "scenes are not split"


@each_network
def test_cpu_offload_gives_the_same_result(folders, family):
    """Layers move to the device one at a time: here from the meta device to the CPU and back."""
    plain, offloaded = load(folders[family]), load(folders[family], cpu_offload=True)
    module = network_module(offloaded)
    assert {p.device.type for p in module.parameters()} == {"meta"}
    text, cameras, x = plain.encode_text([PROMPT, ""]), turntable_cameras(2, size=24), noise(plain)
    t = torch.tensor([0.3, 0.8])
    for views in (1, 2):
        results = [prior.denoise(x, t, text, cameras, views=views) for prior in (plain, offloaded)]
        assert torch.equal(*results)
    assert {p.device.type for p in module.parameters()} == {"meta"} and plain.sha256 == offloaded.sha256


def network_module(prior: DiffusionPrior) -> torch.nn.Module:
    return next(v for v in vars(prior.network).values() if isinstance(v, torch.nn.Module))


@pytest.mark.parametrize("family", ["sd", "flux"])
def test_set_offloaded_moves_weights_and_back(folders, family):
    prior = load(folders[family])
    text, cameras, x = prior.encode_text([PROMPT, ""]), turntable_cameras(2, size=24), noise(prior)
    t, module, offloadable = torch.tensor([0.3, 0.8]), network_module(prior), prior.offloadable_weights
    before = [p.clone() for p in module.parameters()]
    expected = prior.denoise(x, t, text, cameras, views=2)
    assert offloadable.nbytes == sum(v.numel() * v.element_size() for v in (*before, *module.buffers()))
    assert 0 < offloadable.max_layer_bytes < offloadable.nbytes and offloadable.transfer_seconds() > 0
    for _ in range(2):
        offloadable.set_offloaded(True)
        offloadable.set_offloaded(True)  # already offloaded
        assert {p.device.type for p in module.parameters()} == {"meta"}
        assert torch.equal(prior.denoise(x, t, text, cameras, views=2), expected)
        offloadable.set_offloaded(False)
        assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))
        assert torch.equal(prior.denoise(x, t, text, cameras, views=2), expected)


def test_place_network_falls_back_to_main_memory(folders, monkeypatch):
    from dreamfusion3d.priors.pretrained.diffusers_folder import DiffusersFolder

    plain, load_module = load(folders["sd"]), DiffusersFolder.load_module

    def load_without_room(self, part, model_class, dtype):
        module = load_module(self, part, model_class, dtype)
        to = module.to

        def raise_out_of_memory(*args, **options):
            if args and args[0] == torch.device("cpu"):  # the compute device
                raise torch.cuda.OutOfMemoryError("CUDA out of memory")
            return to(*args, **options)

        if part == "unet":
            module.to = raise_out_of_memory
        return module

    monkeypatch.setattr(DiffusersFolder, "load_module", load_without_room)
    with pytest.warns(UserWarning, match="does not fit on cpu: its layers are loaded from main memory"):
        offloaded = load(folders["sd"])
    assert offloaded.offloadable_weights is None
    assert {p.device.type for p in network_module(offloaded).parameters()} == {"meta"}
    text, cameras, x = plain.encode_text([PROMPT, ""]), turntable_cameras(2, size=24), noise(plain)
    t = torch.tensor([0.3, 0.8])
    results = [prior.denoise(x, t, text, cameras, views=1) for prior in (plain, offloaded)]
    assert torch.equal(*results)


@pytest.mark.parametrize("setting", ["compile", "cuda_graph"])
def test_cpu_offload_conflicts_with_compile_and_cuda_graph(folders, setting):
    with pytest.raises(InputError, match="disable one of them"):
        load(folders["sd"], cpu_offload=True, **{setting: True})


def test_cpu_offload_without_accelerate_names_the_extra(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(InputError, match=r"pip install 'dreamfusion3d\[priors\]'"):
        load(folders["sd"], cpu_offload=True)
