"""What one step asks of published models: floating-point operations and bytes, counted and not run.

    python -m benchmarks.cost

The networks are made on torch's meta device at their real sizes: no weights, no memory, any machine. Counted
are the products of a guided answer (prompt and empty prompt, one picture), of the encoder's forward pass and,
where latents are a picture's, of the pass back through it, which score distillation needs. Prints JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable
from typing import Any

import diffusers
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.models import MODELS, SD3, Model

HALF = 2  # bytes of a number in half precision
GUIDED = 2  # pictures that pass the network for one guided answer
# SDXL's report (arXiv 2307.01952, table 1), the cards of DeepFloyd/IF-I-M-v1.0 and of
# stabilityai/stable-diffusion-3-medium
PUBLISHED_PARAMETERS = {"sd14": 860e6, "sd21": 865e6, "sdxl": 2.6e9, "if-m": 400e6, "sd3": 2e9}
# BK-SDM's count (Nota-NetsPresso/BK-SDM, issue 53): 338.7 thousand million multiplications and additions, of
# the layers alone, without attention's own products
PUBLISHED_OPERATIONS = {"sd14": 2 * 338.7e9}
# CompVis/stable-diffusion-v1-4: unet/config.json, for the sake of that count
SD14 = dataclasses.replace(
    MODELS["sd21"],
    width=768,
    unet={**MODELS["sd21"].unet, "attention_head_dim": 8, "cross_attention_dim": 768, "use_linear_projection": False},
)
ATTENTION = ("attention", "bmm", "baddbmm")  # the products of queries, keys and values


def made(options: dict[str, Any]) -> nn.Module:
    options = dict(options)
    return getattr(diffusers, options.pop("_class_name"))(**options)


def counted(run: Callable[[], object]) -> tuple[int, int]:
    """Operations (a multiplication and an addition are two), and those of them that are attention's."""
    with FlopCounterMode(display=False) as counter:
        run()
    by_kind = {str(kind): n for kind, n in counter.get_flop_counts()["Global"].items()}
    attention = sum(n for kind, n in by_kind.items() if any(name in kind for name in ATTENTION))
    return sum(by_kind.values()), attention


def asked(model: Model, network: nn.Module) -> Callable[[], object]:
    """One picture through the network."""
    options, text = model.unet, torch.zeros(1, 77, model.width)
    x = torch.zeros(1, options.get("in_channels", 4), options["sample_size"], options["sample_size"])
    time = torch.zeros(1)
    sentence = torch.zeros(1, model.pooled or 0)
    if model is SD3:  # the tokens of both CLIPs side by side, and those of T5 after them
        text = torch.zeros(1, 2 * 77, model.width)
        return lambda: network(x, encoder_hidden_states=text, pooled_projections=sentence, timestep=time)
    added = {}
    if model.pooled:
        added = {"added_cond_kwargs": {"text_embeds": sentence, "time_ids": torch.zeros(1, 6)}}
    return lambda: network(x, time, encoder_hidden_states=text, **added)


def encoder_cost(model: Model) -> dict[str, float]:
    """Of the picture's way into latents, and of the gradient's way back."""
    if model.vae is None:
        return {}
    vae = made(model.vae).requires_grad_(False)
    depth = len(model.vae.get("block_out_channels", model.vae.get("encoder_block_out_channels", (0,) * 4)))
    size = model.unet["sample_size"] * 2 ** (depth - 1)
    picture = torch.zeros(1, 3, size, size, requires_grad=True)
    encoder = vae.encoder
    forward, _ = counted(lambda: encoder(picture))
    both, _ = counted(lambda: encoder(picture).sum().backward())
    return {
        "encode": tera(forward),
        "encode_backward": tera(both - forward),
        "encoder_bytes": HALF * parameters(encoder),
    }


def tera(operations: float) -> float:
    return round(operations / 1e12, 4)


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def cost(name: str, model: Model) -> dict[str, float | None]:
    with torch.device("meta"), torch.no_grad():
        network = made(model.unet).eval()
        network_once, attention = counted(asked(model, network))
    with torch.device("meta"):
        encoder = encoder_cost(model)
    published = PUBLISHED_OPERATIONS.get(name)
    total = GUIDED * network_once / 1e12 + encoder.get("encode", 0) + encoder.get("encode_backward", 0)
    return {
        "parameters": parameters(network),
        "parameters_published": PUBLISHED_PARAMETERS.get(name),
        "network_bytes": HALF * parameters(network),
        "network": tera(network_once),
        "network_without_attention": tera(network_once - attention),
        "without_attention_published": None if published is None else tera(published),
        **encoder,
        "step": round(total, 3),
    }


def main() -> None:
    argparse.ArgumentParser(description=__doc__.splitlines()[0]).parse_args()
    print(
        json.dumps(
            {
                "benchmark": "cost",
                "unit": "10^12 operations, bytes in half precision",
                "models": {name: cost(name, model) for name, model in {"sd14": SD14, **MODELS, "sd3": SD3}.items()},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
