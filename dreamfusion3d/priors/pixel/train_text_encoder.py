"""Training of the text encoder on captions, their paraphrases and unrelated sentences.

``train_prompt_text_encoder`` is a generator of steps; ``evaluate_text_encoder`` measures held-out paraphrases.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamfusion3d.priors.pixel.prompt_parser import parse_prompt
from dreamfusion3d.priors.pixel.text_encoder import UNRELATED, PromptTextEncoder, slot_values
from dreamfusion3d.procedural.augment import augment_caption, generate_unrelated_prompt
from dreamfusion3d.procedural.captions import generate_caption
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.objects import COLORS, SIZES, ObjectSpec
from dreamfusion3d.procedural.prompt_rules import parse_with_rules

CONTRASTIVE_TEMPERATURE = 0.1
CONTRASTIVE_WEIGHT = 0.2


@dataclass(frozen=True)
class TextEncoderStep:
    """Progress of a training step."""

    index: int
    total: int
    loss: float


def new_text_encoder(seed: int) -> PromptTextEncoder:
    """Make an untrained text encoder; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PromptTextEncoder(slot_values())


def train_prompt_text_encoder(
    model: PromptTextEncoder,
    *,
    steps: int,
    learning_rate: float = 2e-3,
    specs_per_step: int = 64,
    unrelated_per_step: int = 16,
    generator: torch.Generator,
) -> Iterator[TextEncoderStep]:
    """Train with a linearly decaying learning rate, yielding after each step.

    The loss is the cross entropy of every slot plus a contrastive loss as in ContraCode (arXiv 2007.04973, section
    3.3): of each spec, two wordings should be nearest neighbors in the batch.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate, weight_decay=0.01)
    model.train()
    for step in _seeded_steps(steps, generator):
        specs = [random_spec(generator=generator) for _ in range(specs_per_step)]
        sentences = [random_sentence(m, generator=generator) for _ in range(2) for m in specs]
        unrelated = [generate_unrelated_prompt(generator=generator) for _ in range(unrelated_per_step)]
        logits, vectors = model([*sentences, *unrelated])
        loss = _slot_loss(model, logits, specs * 2) + CONTRASTIVE_WEIGHT * _contrastive_loss(vectors, specs)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate * (1 - step / steps)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        yield TextEncoderStep(step + 1, steps, float(loss.detach()))
    model.eval()


def _seeded_steps(steps: int, generator: torch.Generator) -> Iterator[int]:
    """Yield step indices while the global generator is seeded, because dropout takes no generator of its own.

    Its state is restored at the end, also if the training is interrupted.
    """
    state = torch.get_rng_state()
    torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
    try:
        yield from range(steps)
    finally:
        torch.set_rng_state(state)


def _slot_loss(model: PromptTextEncoder, logits: dict[str, Tensor], specs: list[ObjectSpec]) -> Tensor:
    """Sum the cross entropy of all slots; unrelated sentences count only in the category."""
    total = torch.zeros(())
    num_unrelated = len(logits["category"]) - len(specs)
    for name, values in model.slot_values.items():
        target_ids = [values.index(str(getattr(m, name))) for m in specs]
        slot_logits = logits[name][: len(specs)]
        if name == "category":
            target_ids, slot_logits = target_ids + [values.index(UNRELATED)] * num_unrelated, logits[name]
        total = total + F.cross_entropy(slot_logits, torch.tensor(target_ids, device=slot_logits.device))
    return total


def _contrastive_loss(vectors: Tensor, specs: list[ObjectSpec]) -> Tensor:
    """Return the symmetric InfoNCE loss (van den Oord et al., arXiv 1807.03748); equal specs are not negatives."""
    n = len(specs)
    scores = vectors[:n] @ vectors[n : 2 * n].T / CONTRASTIVE_TEMPERATURE
    same = torch.tensor([[a == b for b in specs] for a in specs], device=scores.device)
    scores = scores.masked_fill(same & ~torch.eye(n, dtype=torch.bool, device=scores.device), -1e4)
    target_ids = torch.arange(n, device=scores.device)
    return 0.5 * (F.cross_entropy(scores, target_ids) + F.cross_entropy(scores.T, target_ids))


def random_sentence(spec: ObjectSpec, *, generator: torch.Generator) -> str:
    """Generate a caption, paraphrased three times out of four."""
    sentence = generate_caption(spec, generator=generator)
    if int(torch.randint(4, (), generator=generator)) == 0:
        return sentence
    return augment_caption(sentence, generator=generator)


def random_spec(categories: Sequence[str] | None = None, *, generator: torch.Generator) -> ObjectSpec:
    """Draw any spec that a caption can express, of some categories or of all."""

    def pick(options: list[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    category = CATEGORIES[pick(list(categories or CATEGORIES))]
    forms = category.variants()
    count, option = forms[int(torch.randint(len(forms), (), generator=generator))]
    second_color = pick([*["default"] * len(COLORS), *COLORS])
    if category.second_part_is_handles and count == 0:
        second_color = "default"
    if second_color != "default" and set(category.second_part_words) & set(category.option_words):
        option = True
    color, size = pick([*["natural"] * 4, *COLORS]), pick(["normal"] * 4 + list(SIZES))
    material = pick(["plain"] * 2 + list(category.materials))
    return ObjectSpec(category.name, color, second_color, count, size, material, option)


def evaluate_text_encoder(model: PromptTextEncoder, *, count: int, generator: torch.Generator) -> dict[str, float]:
    """Measure the fraction of ``count`` sentences per family that are parsed correctly.

    Each family is parsed by the network, by the rules ("_rules") and by ``parse_prompt`` ("_understood").
    """

    def accuracy(found: Sequence[object], expected: Sequence[object]) -> float:
        return sum(a == b for a, b in zip(found, expected, strict=True)) / count

    known = [name for name in model.slot_values["category"] if name in CATEGORIES]
    specs = [random_spec(known, generator=generator) for _ in range(count)]
    captions = [generate_caption(m, generator=generator) for m in specs]
    families = {
        "captions": captions,
        "rewrites": [augment_caption(c, generator=generator) for c in captions],
        "rewrites_kept_out": [augment_caption(c, generator=generator, held_out=True) for c in captions],
    }
    report = {}
    for name, sentences in families.items():
        predicted = [u.spec for u in model.predict_specs(sentences)]
        categories = [spec.category if spec else None for spec in predicted]
        report[name] = accuracy(predicted, specs)
        report[f"{name}_kind"] = accuracy(categories, [spec.category for spec in specs])
        report[f"{name}_understood"] = accuracy([parse_prompt(s, model).spec for s in sentences], specs)
        report[f"{name}_rules"] = accuracy([parse_with_rules(s).spec for s in sentences], specs)
    unrelated = [generate_unrelated_prompt(generator=generator, held_out=True) for _ in range(count)]
    report["strangers_refused"] = sum(u.spec is None for u in model.predict_specs(unrelated)) / count
    report["strangers_refused_understood"] = sum(parse_prompt(s, model).spec is None for s in unrelated) / count
    return report
