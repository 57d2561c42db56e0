"""A small network that reads prompts into a ``Meaning``, for the wordings that no rule foresees.

Each word is the mean of its character n-grams' vectors (fastText, arXiv 1607.04606), so a
misspelt word lies near the right one; a transformer binds colours to parts; one query for each
slot of the meaning asks for its value. What comes out is a meaning, not a vector: sentences
that are understood alike are the same prompt, bit for bit.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from dreamfusion3d.core.files import atomic_write, write_json
from dreamfusion3d.procedural.categories import CATEGORIES
from dreamfusion3d.procedural.materials import MATERIALS
from dreamfusion3d.procedural.objects import COLORS, SIZES, SLOT_KEYS, SLOTS_BY_KEY, ObjectSpec
from dreamfusion3d.procedural.prompt_rules import split_words

UNRELATED = "nothing"  # the kind of a sentence about something else
_FILE = "model.safetensors"
_MAX_WORDS = 32  # words; the rest of a long prompt is not read
_NGRAM_SIZES = (3, 4, 5)


def slot_values() -> dict[str, list[str]]:
    """The values of every slot of a meaning."""
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
    """A meaning and how sure the network is of it; no meaning: it is about something else."""

    spec: ObjectSpec | None
    confidence: float  # of the least certain slot, in [0, 1]


@runtime_checkable
class SpecPredictor(Protocol):
    """Whatever guesses at meanings."""

    def predict_specs(self, sentences: Sequence[str]) -> list[SpecPrediction]: ...


class PromptTextEncoder(nn.Module):
    """Sentences to logits of every slot, and to one vector that rewrites share."""

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
        """The most likely value of every slot; counts that a kind does not come with are moved to one."""
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
        folder.mkdir(parents=True, exist_ok=True)
        values = {SLOT_KEYS[name]: options for name, options in self.slot_values.items()}
        write_json(
            folder / "config.json",
            {"values": values, "width": self.width, "layers": self.layers, "buckets": self.num_buckets},
        )
        with atomic_write(folder / _FILE) as temporary:
            save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: Path) -> PromptTextEncoder:
        config = json.loads((folder / "config.json").read_text())
        values = {SLOTS_BY_KEY[key]: options for key, options in config["values"].items()}
        with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
            model = cls(values, width=config["width"], layers=config["layers"], num_buckets=config["buckets"])
        model.load_state_dict({k: v.float() for k, v in load_file(folder / _FILE).items()})
        return model.eval()


def ngram_buckets(word: str, num_buckets: int) -> list[int]:
    """Buckets of a word's n-grams, its ends marked, and of the word itself."""
    marked = f"<{word}>"
    ngrams = [marked[i : i + n] for n in _NGRAM_SIZES for i in range(len(marked) - n + 1)]
    return [zlib.crc32(p.encode()) % num_buckets for p in (marked, *ngrams)]


def _spec_from_slots(chosen: dict[str, str]) -> ObjectSpec | None:
    if chosen["category"] not in CATEGORIES:
        return None
    category = CATEGORIES[chosen["category"]]
    count = min(category.counts, key=lambda c: abs(c - int(chosen["count"])))
    return ObjectSpec(
        category.name,
        chosen["color"],
        chosen["second_color"],
        count,
        chosen["size"],
        chosen["material"] if chosen["material"] in category.materials else "plain",
        bool(category.option_words) and chosen["option"] == "True",
    )
