"""Row layout of the multiresolution hash table (instant-ngp, arXiv 2201.05989)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

PRIME_Y = 2654435761
PRIME_Z = 805459861
# Products with the primes must fit an int64, and resolutions the integers of a float32.
MAX_RESOLUTION = 1 << 20


@dataclass(frozen=True)
class HashGridLayout:
    """Layout of all levels' vertices in one table.

    Raises:
        ValueError: a value is out of range.
    """

    num_levels: int = 8
    features: int = 2
    log2_table_size: int = 15
    base_resolution: int = 8
    max_resolution: int = 128

    def __post_init__(self) -> None:
        if self.num_levels < 1 or self.features < 1:
            raise ValueError(f"num_levels and features must be at least 1, not {self.num_levels} and {self.features}")
        if not 1 <= self.base_resolution <= self.max_resolution <= MAX_RESOLUTION:
            raise ValueError(
                f"resolutions must satisfy 1 <= base_resolution <= max_resolution <= {MAX_RESOLUTION}, "
                f"not {self.base_resolution} and {self.max_resolution}"
            )
        if not 1 <= self.log2_table_size <= 30:
            raise ValueError(f"log2_table_size must lie in 1..30, not {self.log2_table_size}")

    @cached_property
    def resolutions(self) -> tuple[int, ...]:
        """Cells along an axis of each level, a geometric progression (eq. 2 and 3)."""
        if self.num_levels == 1:
            return (self.base_resolution,)
        growth = math.log(self.max_resolution / self.base_resolution) / (self.num_levels - 1)
        # the last level is max_resolution itself whatever the rounding of exp and log
        exact = (self.base_resolution * math.exp(growth * i) for i in range(self.num_levels - 1))
        return (*(math.floor(n + 1e-6) for n in exact), self.max_resolution)

    @cached_property
    def dense(self) -> tuple[bool, ...]:
        """True for each level that has a row for every vertex (no collisions)."""
        return tuple((n + 1) ** 3 <= 1 << self.log2_table_size for n in self.resolutions)

    @cached_property
    def offsets(self) -> tuple[int, ...]:
        """First row of each level, and the number of rows of the whole table at the end."""
        offsets = [0]
        for resolution, dense in zip(self.resolutions, self.dense, strict=True):
            offsets.append(offsets[-1] + ((resolution + 1) ** 3 if dense else 1 << self.log2_table_size))
        return tuple(offsets)

    @property
    def num_rows(self) -> int:
        return self.offsets[-1]

    @property
    def output_dim(self) -> int:
        """Number of features per point."""
        return self.num_levels * self.features
