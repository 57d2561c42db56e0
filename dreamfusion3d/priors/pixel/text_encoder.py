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

from dreamfusion3d.core.files import replacing, write_json
from dreamfusion3d.procedural.categories import KINDS
from dreamfusion3d.procedural.materials import FINISHES
from dreamfusion3d.procedural.objects import COLOURS, SIZES, Meaning
from dreamfusion3d.procedural.prompt_rules import split

NOTHING = "nothing"  # the kind of a sentence about something else
_FILE = "model.safetensors"
_LONGEST = 32  # words; the rest of a long prompt is not read
_GRAMS = (3, 4, 5)


def slots() -> dict[str, list[str]]:
    """The values of every slot of a meaning."""
    counts = sorted({count for kind in KINDS.values() for count in kind.counts})
    return {
        "kind": [NOTHING, *KINDS], "colour": ["natural", *COLOURS], "second_colour": ["default", *COLOURS],
        "count": [str(c) for c in counts], "size": list(SIZES), "finish": list(FINISHES),
        "option": ["False", "True"],
    }


@dataclass(frozen=True)
class Understood:
    """A meaning and how sure the network is of it; no meaning: it is about something else."""

    meaning: Meaning | None
    confidence: float  # of the least certain slot, in [0, 1]


@runtime_checkable
class Reader(Protocol):
    """Whatever guesses at meanings."""

    def understand(self, sentences: Sequence[str]) -> list[Understood]: ...


class WordEncoder(nn.Module):
    """Sentences to logits of every slot, and to one vector that rewrites share."""

    def __init__(
        self, values: dict[str, list[str]], *, width: int = 96, layers: int = 2, buckets: int = 6000
    ) -> None:
        super().__init__()
        self.values, self.width, self.layers, self.buckets = values, width, layers, buckets
        self.grams = nn.EmbeddingBag(buckets, width, mode="mean")
        self.places = nn.Parameter(0.1 * torch.randn(_LONGEST, width))
        block = nn.TransformerEncoderLayer(
            width, 4, 2 * width, dropout=0.1, batch_first=True, norm_first=True
        )
        self.body = nn.TransformerEncoder(block, layers, enable_nested_tensor=False)
        self.queries = nn.Parameter(torch.randn(len(values), width))
        self.look = nn.MultiheadAttention(width, 4, batch_first=True)
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(v)) for name, v in values.items()})
        self.project = nn.Linear(width * len(values), 64)

    def forward(self, sentences: Sequence[str]) -> tuple[dict[str, Tensor], Float[Tensor, "b 64"]]:
        words = [(split(s) or [""])[:_LONGEST] for s in sentences]
        longest = max(len(w) for w in words)
        device = self.places.device
        rows = [grams(w, self.buckets) for sentence in words for w in sentence]
        starts = torch.tensor([0, *(len(r) for r in rows[:-1])]).cumsum(0).to(device)
        vectors = self.grams(torch.tensor([g for r in rows for g in r], device=device), starts)
        padded = nn.utils.rnn.pad_sequence(
            list(vectors.split([len(w) for w in words])), batch_first=True
        )
        empty = torch.tensor([[i >= len(w) for i in range(longest)] for w in words], device=device)
        x = self.body(padded + self.places[:longest], src_key_padding_mask=empty)
        asked, _ = self.look(self.queries.expand(len(words), -1, -1), x, x, key_padding_mask=empty)
        logits = {name: head(asked[:, i]) for i, (name, head) in enumerate(self.heads.items())}
        return logits, nn.functional.normalize(self.project(asked.flatten(1)), dim=-1)

    @torch.no_grad()
    def understand(self, sentences: Sequence[str]) -> list[Understood]:
        """The most likely value of every slot; counts that a kind does not come with are moved to one."""
        was_training = self.training
        self.eval()
        logits, _ = self(sentences)
        self.train(was_training)
        shares = {name: v.softmax(-1).max(-1) for name, v in logits.items()}
        out = []
        for i in range(len(sentences)):
            chosen = {n: self.values[n][int(s.indices[i])] for n, s in shares.items()}
            sure = min(float(s.values[i]) for s in shares.values())
            out.append(Understood(_meaning(chosen), sure))
        return out

    def save(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "config.json", {
            "values": self.values, "width": self.width, "layers": self.layers, "buckets": self.buckets,
        })
        with replacing(folder / _FILE) as temporary:
            save_file({k: v.half().contiguous() for k, v in self.state_dict().items()}, temporary)

    @classmethod
    def load(cls, folder: Path) -> WordEncoder:
        config = json.loads((folder / "config.json").read_text())
        with torch.random.fork_rng(devices=[]):  # what is drawn here is overwritten
            model = cls(
                config["values"], width=config["width"], layers=config["layers"], buckets=config["buckets"]
            )
        model.load_state_dict({k: v.float() for k, v in load_file(folder / _FILE).items()})
        return model.eval()


def grams(word: str, buckets: int) -> list[int]:
    """Buckets of a word's n-grams, its ends marked, and of the word itself."""
    marked = f"<{word}>"
    pieces = [marked[i : i + n] for n in _GRAMS for i in range(len(marked) - n + 1)]
    return [zlib.crc32(p.encode()) % buckets for p in (marked, *pieces)]


def _meaning(chosen: dict[str, str]) -> Meaning | None:
    if chosen["kind"] not in KINDS:
        return None
    kind = KINDS[chosen["kind"]]
    count = min(kind.counts, key=lambda c: abs(c - int(chosen["count"])))
    return Meaning(
        kind.name, chosen["colour"], chosen["second_colour"], count, chosen["size"],
        chosen["finish"] if chosen["finish"] in kind.finishes else "plain",
        bool(kind.option) and chosen["option"] == "True",
    )
