"""threestudio's gradients beside ours: the same tiny weights, noise and times.

    git clone https://github.com/threestudio-project/threestudio PEERS/threestudio
    python -m benchmarks.gradients --peers PEERS

Its methods ``compute_grad_sds`` and ``compute_grad_vsd`` run as they are written; what surrounds them
(a framework, a VAE, a sampler) is stood in for, so the package is not installed. Ours are what
``distill_field`` calls: an adapter loaded from a folder, ``CFGDenoiser``, ``sds`` and ``vsd``. Prints JSON: of each
gradient the largest value, the largest difference, and one over the other.
"""

from __future__ import annotations
import __future__

import argparse
import ast
import contextlib
import json
import tempfile
import types
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers import commit
from dreamfusion3d.cameras.orbit import OrbitCameras, sample_orbit_cameras
from dreamfusion3d.core.config import PriorConfig
from dreamfusion3d.guidance.protocol import Weighting
from dreamfusion3d.guidance.sds import sds
from dreamfusion3d.guidance.vsd import vsd
from dreamfusion3d.priors.cfg import CFGDenoiser
from dreamfusion3d.priors.loading import load_prior
from dreamfusion3d.priors.pretrained.diffusion_prior import DiffusionPrior
from dreamfusion3d.priors.pretrained.networks import Network
from dreamfusion3d.priors.protocol import Conditioning, Prompts, TextEmbedding
from tests.support import families

THREESTUDIO = "threestudio"
TIMES = (100, 500, 900)  # of 1000, one a picture
TOKENS = 7
STRENGTHS = ((0.8, 0.3), (0.2, 0.9), (0.5, 0.5))  # of two negative prompts, for each picture
METHODS = {
    "stable_diffusion_guidance.py": ("forward_unet", "compute_grad_sds"),
    "stable_diffusion_vsd_guidance.py": ("forward_unet", "disable_unet_class_embedding", "compute_grad_vsd"),
}
Row = dict[str, Any]


def their(clone: Path, file: str) -> types.SimpleNamespace:
    """The methods of METHODS, by themselves: their imports are not looked at, nor their annotations."""
    guidance = (clone / "threestudio" / "models" / "guidance" / file).read_text()
    names = {"torch": torch, "F": F, "contextmanager": contextlib.contextmanager}
    for source, wanted in (
        ((clone / "threestudio" / "utils" / "ops.py").read_text(), ("perpendicular_component",)),
        (guidance, METHODS[file]),
    ):
        nodes = ast.walk(ast.parse(source))
        code = ast.Module([n for n in nodes if isinstance(n, ast.FunctionDef) and n.name in wanted], [])
        exec(compile(code, file, "exec", __future__.annotations.compiler_flag, dont_inherit=True), names)
    return types.SimpleNamespace(**{name: names[name] for name in METHODS[file]})


def bound(methods: types.SimpleNamespace, **parts: object) -> types.SimpleNamespace:
    """An object with ``parts`` that has the methods."""
    made = types.SimpleNamespace(weights_dtype=torch.float32, **parts)
    for name, method in vars(methods).items():
        setattr(made, name, types.MethodType(method, made))
    return made


@contextlib.contextmanager
def lots(noise: Tensor, t: Tensor) -> Iterator[None]:
    """They draw ``noise`` and ``t`` here."""
    with (
        mock.patch.object(torch, "randn_like", lambda _: noise.clone()),
        mock.patch.object(torch, "randint", lambda *_, **__: t.clone()),
    ):
        yield


class Scene:
    """Pictures, noise, times and prompts that both sides are given."""

    def __init__(self, work: Path, pictures: int) -> None:
        found = load_prior(PriorConfig(name=str(families.build("sd", work / "sd")), resolution=16))
        assert isinstance(found, DiffusionPrior)
        self.prior, draw = found, torch.Generator().manual_seed(0)
        self.unet = self.prior.network.unet  # type: ignore[attr-defined]
        with torch.random.fork_rng():
            torch.manual_seed(1)
            self.own = families.unet(class_embed_type="projection", projection_class_embeddings_input_dim=16).eval()
        self.b = pictures
        self.steps = torch.tensor(TIMES[-pictures:] if pictures > 1 else TIMES[1:2])
        self.x = torch.randn(pictures, 4, 8, 8, generator=draw)
        self.noise = torch.randn(pictures, 4, 8, 8, generator=draw)
        self.cond, self.uncond = (torch.randn(pictures, TOKENS, families.WIDTH, generator=draw) for _ in "ab")
        self.negatives = torch.randn(pictures, 2, TOKENS, families.WIDTH, generator=draw)
        self.strengths = torch.tensor(STRENGTHS[:pictures])
        self.poses = torch.randn(pictures, 4, 4, generator=draw)
        self.cameras = sample_orbit_cameras(pictures, generator=draw, size=8)
        self.alpha_bar = self.prior.noise_schedule.alpha_bar  # type: ignore[attr-defined]
        self.t = self.steps / (len(self.alpha_bar) - 1)
        assert torch.equal(self.prior.noise_schedule.timestep(self.t), self.steps)

    def noisy(self, x: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        alpha_bar = self.alpha_bar[t].view(-1, 1, 1, 1)
        return alpha_bar.sqrt() * x + (1 - alpha_bar).sqrt() * noise

    # --- theirs ---

    def theirs_sds(self, methods: types.SimpleNamespace, scale: float, weighting: str, perp: bool) -> Tensor:
        asked = {"use_perp_neg": perp}
        if perp:
            rows = torch.cat([self.cond, self.uncond, self.negatives.flatten(0, 1)])
            asked["get_text_embeddings_perp_neg"] = lambda *_: (rows, -self.strengths)  # type: ignore[assignment]
        else:
            asked["get_text_embeddings"] = lambda *_: torch.cat([self.cond, self.uncond])  # type: ignore[assignment]
        made = bound(
            methods,
            unet=self.unet,
            alphas=self.alpha_bar,
            decode_latents=lambda latents: None,
            scheduler=types.SimpleNamespace(add_noise=self.noisy),
            cfg=types.SimpleNamespace(
                guidance_scale=scale, weighting_strategy=weighting, use_img_loss=False, view_dependent_prompting=True
            ),
        )
        angles = torch.zeros(self.b)
        with lots(self.noise, self.steps):
            gradient: Tensor = made.compute_grad_sds(
                self.x, None, self.steps, types.SimpleNamespace(**asked), angles, angles, angles
            )[0]
        return gradient

    def theirs_vsd(self, methods: types.SimpleNamespace, scale: float) -> Tensor:
        scheduler = types.SimpleNamespace(add_noise=self.noisy, config=types.SimpleNamespace(prediction_type="epsilon"))
        made = bound(
            methods,
            unet=self.unet,
            unet_lora=self.own,
            single_model=False,
            alphas=self.alpha_bar,
            scheduler=scheduler,
            scheduler_lora=scheduler,
            device="cpu",
            min_step=0,
            max_step=999,
            cfg=types.SimpleNamespace(guidance_scale=scale, guidance_scale_lora=1.0, use_img_loss=False),
        )
        both = torch.cat([self.cond, self.uncond])
        with lots(self.noise, self.steps):
            gradient: Tensor = made.compute_grad_vsd(self.x, both, both, self.poses)[0]
        return gradient

    # --- ours ---

    def prompts(self, negatives: Tensor | None = None) -> Prompts:
        found = Conditioning(
            TextEmbedding(self.cond),
            TextEmbedding(self.uncond),
            tuple((TextEmbedding(negatives[:, i]), self.strengths[:, i]) for i in range(2))
            if negatives is not None
            else (),
        )
        return types.SimpleNamespace(conditioning=lambda cameras: found)  # type: ignore[return-value]

    def denoise(self, scale: float, prompts: Prompts) -> Any:
        def asked(x_t: Tensor, t: Tensor) -> Tensor:
            return CFGDenoiser(self.prior, prompts, self.cameras, views=1)(x_t, t, scale)

        return asked

    def own_x0(self, x_t: Tensor, t: Tensor) -> Tensor:
        poses = self.poses.flatten(1)
        output = self.own(x_t, self.steps, encoder_hidden_states=self.cond, class_labels=poses).sample
        return self.prior.noise_schedule.x0(x_t, t, output)

    def ours(self, prompts: Prompts, scale: float, weighting: Weighting, *, variational: bool = False) -> Tensor:
        x = self.x.clone().requires_grad_()
        denoise, pair = self.denoise(scale, prompts), self.prior.alpha_sigma(self.t)
        if variational:
            found = vsd(x, self.t, pair, denoise, self.own_x0, noise=self.noise, weighting=weighting)
        else:
            found = sds(x, self.t, pair, denoise, noise=self.noise, weighting=weighting)
        (gradient,) = torch.autograd.grad(found.loss, x)
        return gradient * x.numel()  # ours is a mean


class Mispaired:
    """A network that asks of a batch's negative prompts what theirs does: the prompts lie picture by picture,
    the noisy pictures as whole batches, and what comes back is taken picture by picture again."""

    def __init__(self, network: Network, pictures: int) -> None:
        self.network = network
        place = torch.arange(2 * pictures)
        self.rows = torch.cat([place, place[0::2], place[1::2]]) % pictures

    def __call__(self, x_t: Tensor, timestep: Tensor, text: TextEmbedding, cameras: OrbitCameras, views: int) -> Tensor:
        return self.network(x_t[self.rows], timestep[self.rows], text, cameras, views)


def row(theirs: Tensor, ours: Tensor) -> Row:
    largest, apart = float(theirs.abs().max()), float((theirs - ours).abs().max())
    return {"largest": largest, "difference": apart, "relative": apart / largest}


def compare(clone: Path, work: Path) -> dict[str, Row]:
    plain, variational = (their(clone, file) for file in METHODS)
    three, one = Scene(work, 3), Scene(work, 1)
    free, asked = three.prompts(), three.prompts(three.negatives)
    batch = three.theirs_sds(plain, 100.0, "sds", True)
    rows = {
        "sds, sigma^2, their scale 100, ours 101": row(
            three.theirs_sds(plain, 100.0, "sds", False), three.ours(free, 101.0, "sds")
        ),
        "sds, w = 1, their scale 100, ours 101": row(
            three.theirs_sds(plain, 100.0, "uniform", False), three.ours(free, 101.0, "uniform")
        ),
        "sds, sigma^2, their scale 0, ours 1": row(
            three.theirs_sds(plain, 0.0, "sds", False), three.ours(free, 1.0, "sds")
        ),
        "vsd, sigma^2, scale 7.5": row(
            three.theirs_vsd(variational, 7.5), three.ours(free, 7.5, "sds", variational=True)
        ),
        "perp-neg, scale 100, one picture": row(
            one.theirs_sds(plain, 100.0, "sds", True), one.ours(one.prompts(one.negatives), 100.0, "sds")
        ),
        "perp-neg, scale 100, three pictures": row(batch, three.ours(asked, 100.0, "sds")),
    }
    three.prior.network, three.prior.batch_size = Mispaired(three.prior.network, 3), 12
    rows["perp-neg, scale 100, three pictures paired as theirs"] = row(batch, three.ours(asked, 100.0, "sds"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peers", type=Path, required=True, help="a folder with their clone")
    clone = parser.parse_args().peers / THREESTUDIO
    if not (clone / "threestudio" / "utils" / "ops.py").is_file():
        parser.error(f"there is no clone of threestudio at {clone}")
    with tempfile.TemporaryDirectory() as work, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of names that have gone out of use since
        found = compare(clone, Path(work))
    print(json.dumps({"benchmark": "gradients", "threestudio": commit(clone), "rows": found}, indent=2))


if __name__ == "__main__":
    main()
