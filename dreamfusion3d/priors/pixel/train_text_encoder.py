"""Training of the network that reads prompts: captions, their rewrites, and sentences about
something else. ``train_words`` is a generator of steps; ``measure_words`` tells how well it reads
rewrites that training never showed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from dreamfusion3d.priors.pixel.prompt_parser import understand
from dreamfusion3d.priors.pixel.text_encoder import NOTHING, WordEncoder, slots
from dreamfusion3d.procedural.augment import elsewhere, rewrite
from dreamfusion3d.procedural.captions import caption
from dreamfusion3d.procedural.categories import HANDLES, KINDS
from dreamfusion3d.procedural.objects import COLOURS, SIZES, Meaning
from dreamfusion3d.procedural.prompt_rules import read

MEANINGS = 64  # a step, each in two wordings
STRANGERS = 16  # sentences a step about something else
TEMPERATURE = 0.1
CONTRAST = 0.2  # weight of the contrastive loss


@dataclass(frozen=True)
class WordStep:
    index: int
    total: int
    loss: float


def new_encoder(seed: int) -> WordEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return WordEncoder(slots())


def train_words(
    model: WordEncoder, *, steps: int, rate: float = 2e-3, generator: torch.Generator
) -> Iterator[WordStep]:
    """``steps`` steps at a rate that falls linearly to nothing, yielding after each.

    The loss is the cross entropy of every slot, and, as in ContraCode (arXiv 2007.04973, section
    3.3), a contrast: two wordings of one meaning are each other's nearest in the batch.
    """
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.01)
    model.train()
    for turn in _with_rng(steps, generator):
        meanings = [random_meaning(generator=generator) for _ in range(MEANINGS)]
        sentences = [wording(m, generator=generator) for _ in range(2) for m in meanings]
        strangers = [elsewhere(generator=generator) for _ in range(STRANGERS)]
        logits, vectors = model([*sentences, *strangers])
        loss = _slot_loss(model, logits, meanings * 2) + CONTRAST * _contrast(vectors, meanings)
        for group in optimiser.param_groups:
            group["lr"] = rate * (1 - turn / steps)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        yield WordStep(turn + 1, steps, float(loss.detach()))
    model.eval()


def _with_rng(steps: int, generator: torch.Generator) -> Iterator[int]:
    """Turns, with the global generator seeded: dropout has none of its own. It is put back also when
    the training is broken off."""
    state = torch.get_rng_state()
    torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
    try:
        yield from range(steps)
    finally:
        torch.set_rng_state(state)


def _slot_loss(model: WordEncoder, logits: dict[str, Tensor], meanings: list[Meaning]) -> Tensor:
    """Mean cross entropy a slot; of a stranger only the kind is asked."""
    total = torch.zeros(())
    strangers = len(logits["kind"]) - len(meanings)
    for name, values in model.values.items():
        wanted = [values.index(str(getattr(m, name))) for m in meanings]
        given = logits[name][: len(meanings)]
        if name == "kind":
            wanted, given = wanted + [values.index(NOTHING)] * strangers, logits[name]
        total = total + F.cross_entropy(given, torch.tensor(wanted, device=given.device))
    return total


def _contrast(vectors: Tensor, meanings: list[Meaning]) -> Tensor:
    """InfoNCE both ways (van den Oord et al., arXiv 1807.03748); equal meanings are no negatives."""
    n = len(meanings)
    scores = vectors[:n] @ vectors[n : 2 * n].T / TEMPERATURE
    same = torch.tensor([[a == b for b in meanings] for a in meanings], device=scores.device)
    scores = scores.masked_fill(same & ~torch.eye(n, dtype=torch.bool, device=scores.device), -1e4)
    goal = torch.arange(n, device=scores.device)
    return 0.5 * (F.cross_entropy(scores, goal) + F.cross_entropy(scores.T, goal))


def wording(meaning: Meaning, *, generator: torch.Generator) -> str:
    """A caption, three times in four rewritten."""
    sentence = caption(meaning, generator=generator)
    if int(torch.randint(4, (), generator=generator)) == 0:
        return sentence
    return rewrite(sentence, generator=generator)


def random_meaning(*, generator: torch.Generator) -> Meaning:
    """Any meaning that a caption can say."""

    def pick(options: list[str]) -> str:
        return options[int(torch.randint(len(options), (), generator=generator))]

    kind = KINDS[pick(list(KINDS))]
    forms = kind.forms()
    count, option = forms[int(torch.randint(len(forms), (), generator=generator))]
    second = pick([*["default"] * len(COLOURS), *COLOURS])
    if kind.second is HANDLES and count == 0:
        second = "default"
    if second != "default" and set(kind.second) & set(kind.option):
        option = True
    return Meaning(
        kind.name, pick([*["natural"] * 4, *COLOURS]), second, count, pick(["normal"] * 4 + list(SIZES)),
        pick(["plain"] * 2 + list(kind.finishes)), option,
    )


def measure_words(model: WordEncoder, *, count: int, generator: torch.Generator) -> dict[str, float]:
    """Shares of ``count`` sentences a family that are read as meant: by the network, by the rules, and
    by both together, as a prompt is (``understand``)."""
    meanings = [random_meaning(generator=generator) for _ in range(count)]
    captions = [caption(m, generator=generator) for m in meanings]
    families = {
        "captions": captions,
        "rewrites": [rewrite(c, generator=generator) for c in captions],
        "rewrites_kept_out": [rewrite(c, generator=generator, kept_out=True) for c in captions],
    }
    report = {}
    for name, sentences in families.items():
        understood = [u.meaning for u in model.understand(sentences)]
        report[name] = sum(u == m for u, m in zip(understood, meanings, strict=True)) / count
        report[f"{name}_kind"] = sum(
            u is not None and u.kind == m.kind for u, m in zip(understood, meanings, strict=True)
        ) / count
        report[f"{name}_understood"] = sum(
            understand(s, model).meaning == m for s, m in zip(sentences, meanings, strict=True)
        ) / count
        report[f"{name}_rules"] = sum(
            read(s).meaning == m for s, m in zip(sentences, meanings, strict=True)
        ) / count
    strangers = [elsewhere(generator=generator, kept_out=True) for _ in range(count)]
    report["strangers_refused"] = sum(u.meaning is None for u in model.understand(strangers)) / count
    report["strangers_refused_understood"] = sum(
        understand(s, model).meaning is None for s in strangers
    ) / count
    return report
