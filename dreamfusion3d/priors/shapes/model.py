"""A folder of shape networks, one safetensors file per category, and the objects that they describe."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float, Int
from torch import Tensor

from dreamfusion3d.core.errors import InputError
from dreamfusion3d.priors.shapes.network import ShapeNetwork, object_code
from dreamfusion3d.priors.weights import load_network
from dreamfusion3d.procedural.objects import ObjectBatch, ObjectSpec, sample_objects_for_spec


@dataclass(frozen=True)
class ShapeObject:
    """One object, as a network describes it. ``instance`` is a batch of one."""

    network: ShapeNetwork
    instance: ObjectBatch

    @cached_property
    def _code(self) -> Float[Tensor, "1 k"]:
        return object_code(self.instance)

    @torch.no_grad()
    def part_distances(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, "n p"]:
        """Signed distance of each part, negative inside, in scene units."""
        scale = self.instance.scale[0]
        local = points / scale[[0, 1, 0]]
        return self.network.query(local, self._code) * scale[0]

    def distance(self, points: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Signed distance of the whole object."""
        return self.part_distances(points).amin(1)

    def nearest_part(self, points: Float[Tensor, "n 3"]) -> Int[Tensor, " n"]:
        """Index of the part that each point belongs to."""
        return self.part_distances(points).argmin(1)


class ShapeModel:
    """The shape networks of a folder, loaded when they are first used."""

    def __init__(self, folder: Path, device: torch.device | str = "cpu") -> None:
        self.folder, self.device = folder, device
        self.categories = frozenset(path.stem for path in folder.glob("[!.]*.safetensors"))
        self._networks: dict[str, ShapeNetwork] = {}

    def sample(self, spec: ObjectSpec, *, generator: torch.Generator) -> ShapeObject:
        """Draw an instance of ``spec``, whose category is one of ``categories``.

        Raises InputError if the network is damaged, or of other styles than the category has.
        """
        if spec.category not in self._networks:
            network, _ = load_network(ShapeNetwork, self.folder / f"{spec.category}.safetensors", "train-shapes")
            self._networks[spec.category] = network.to(self.device)
        network, instance = self._networks[spec.category], sample_objects_for_spec(spec, 1, generator=generator)
        instance = instance.to(self.device)
        if network.config["code_size"] != object_code(instance).shape[1]:
            raise InputError(
                f"the shape network of {spec.category!r} in {self.folder} knows other styles; train it again with "
                "train-shapes"
            )
        return ShapeObject(network, instance)
