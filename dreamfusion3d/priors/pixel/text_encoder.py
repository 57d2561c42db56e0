"""Text encoder: a small network that predicts the object spec of a prompt, for wordings that no rule covers.

A word is the mean of its character n-gram embeddings (fastText, arXiv 1607.04606), so a misspelled word lies near the
right one. A transformer binds colors to parts, and one query per slot of the spec attends to its value. The output is
a spec, not a vector: paraphrases with the same spec are the same prompt, bit for bit.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from dreamfusion3d.priors.weights import load_weights, read_module_config, save_module
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.materials import MATERIALS
from dreamfusion3d.procedural.objects import COLORS, SIZES, SLOT_KEYS, SLOTS_BY_KEY, ObjectSpec
from dreamfusion3d.procedural.prompt_rules import split_words

UNRELATED = "nothing"  # category of sentences that name no known object
_MAX_WORDS = 32  # longer prompts are truncated
_NGRAM_SIZES = (3, 4, 5)


def slot_values() -> dict[str, list[str]]:
    """Return the values of every slot of an ``ObjectSpec``."""
    counts = sorted({count for category in CATEGORIES.values() for count in category.counts})
    return {
        "category": [UNRELATED, *CATEGORIES],
        "color": ["natural", *COLORS],
        "second_color": ["default", *COLORS],
        "count": [str(c) for c in counts],
        "size": list(SIZES),
        "material": list(MATERIALS),
        "option": ["False", "True"],
    }


@dataclass(frozen=True)
class SpecPrediction:
    """A predicted spec with its confidence; None for a sentence that names no known object."""

    spec: ObjectSpec | None
    confidence: float  # of the least certain slot


@runtime_checkable
class SpecPredictor(Protocol):
    """A predictor of object specs."""

    def predict_specs(self, sentences: Sequence[str]) -> list[SpecPrediction]:
        """Predict the spec of each sentence."""


class PromptTextEncoder(nn.Module):
    """Map sentences to logits of every slot, and to one unit vector that paraphrases share."""

    def __init__(
        self, slot_values: dict[str, list[str]], *, width: int = 96, layers: int = 2, num_buckets: int = 6000
    ) -> None:
        super().__init__()
        self.slot_values, self.width, self.layers, self.num_buckets = slot_values, width, layers, num_buckets
        self.grams = nn.EmbeddingBag(num_buckets, width, mode="mean")
        self.places = nn.Parameter(0.1 * torch.randn(_MAX_WORDS, width))
        block = nn.TransformerEncoderLayer(width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True)
        self.body = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.queries = nn.Parameter(torch.randn(len(slot_values), width))
        self.look = nn.MultiheadAttention(width, 4, batch_first=True)
        self.heads = nn.ModuleDict({SLOT_KEYS[name]: nn.Linear(width, len(v)) for name, v in slot_values.items()})
        self.project = nn.Linear(width * len(slot_values), 64)

    def forward(self, sentences: Sequence[str]) -> tuple[dict[str, Tensor], Float[Tensor, "b 64"]]:
        words = [(split_words(s) or [""])[:_MAX_WORDS] for s in sentences]
        longest = max(len(w) for w in words)
        device = self.places.device
        buckets = [ngram_buckets(w, self.num_buckets) for sentence in words for w in sentence]
        starts = torch.tensor([0, *(len(r) for r in buckets[:-1])]).cumsum(0).to(device)
        vectors = self.grams(torch.tensor([g for r in buckets for g in r], device=device), starts)
        padded = nn.utils.rnn.pad_sequence(list(vectors.split([len(w) for w in words])), batch_first=True)
        is_padding = torch.tensor([[i >= len(w) for i in range(longest)] for w in words], device=device)
        x = self.body(padded + self.places[:longest], src_key_padding_mask=is_padding)
        slot_features, _ = self.look(self.queries.expand(len(words), -1, -1), x, x, key_padding_mask=is_padding)
        logits = {name: self.heads[SLOT_KEYS[name]](slot_features[:, i]) for i, name in enumerate(self.slot_values)}
        return logits, nn.functional.normalize(self.project(slot_features.flatten(1)), dim=-1)

    @torch.no_grad()
    def predict_specs(self, sentences: Sequence[str]) -> list[SpecPrediction]:
        """Predict the most likely value of every slot, with counts moved to one that the category has."""
        was_training = self.training
        self.eval()
        logits, _ = self(sentences)
        self.train(was_training)
        probabilities = {name: v.softmax(-1).max(-1) for name, v in logits.items()}
        out = []
        for i in range(len(sentences)):
            chosen = {n: self.slot_values[n][int(s.indices[i])] for n, s in probabilities.items()}
            confidence = min(float(s.values[i]) for s in probabilities.values())
            out.append(SpecPrediction(_spec_from_slots(chosen), confidence))
        return out

    def save(self, folder: Path) -> None:
        values = {SLOT_KEYS[name]: options for name, options in self.slot_values.items()}
        config = {"values": values, "width": self.width, "layers": self.layers, "buckets": self.num_buckets}
        save_module(self, folder, config)

    @classmethod
    def load(cls, folder: Path) -> PromptTextEncoder:
        """Load what ``save`` wrote, in evaluation mode."""
        config = read_module_config(folder)
        values = {SLOTS_BY_KEY[key]: options for key, options in config["values"].items()}
        with torch.random.fork_rng(devices=[]):  # the initial weights are overwritten
            model = cls(values, width=config["width"], layers=config["layers"], num_buckets=config["buckets"])
        return load_weights(model, folder).eval()


def ngram_buckets(word: str, num_buckets: int) -> list[int]:
    """Hash a word and its character n-grams, with its ends marked, into buckets."""
    marked = f"<{word}>"
    ngrams = [marked[i : i + n] for n in _NGRAM_SIZES for i in range(len(marked) - n + 1)]
    return [zlib.crc32(p.encode()) % num_buckets for p in (marked, *ngrams)]


def _spec_from_slots(chosen: dict[str, str]) -> ObjectSpec | None:
    if chosen["category"] not in CATEGORIES:
        return None
    category = CATEGORIES[chosen["category"]]
    count = min(category.counts, key=lambda c: abs(c - int(chosen["count"])))
    colors, size = (chosen["color"], chosen["second_color"]), chosen["size"]
    material = chosen["material"] if chosen["material"] in category.materials else "plain"
    option = bool(category.option_words) and chosen["option"] == "True"
    return ObjectSpec(category.name, *colors, count, size, material, option)
