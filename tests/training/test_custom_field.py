"""The loop takes any field that has what docs/architecture.md ("Swap a part") says."""

from __future__ import annotations

import subprocess
import sys

OWN_FIELD = """
import torch
import torch.nn.functional as F
from dreamfusion3d.core.config import Config, with_values
from dreamfusion3d.training.distillation import optimize
from dreamfusion3d.priors.oracle import IdealPrior
from dreamfusion3d.procedural.objects import Meaning, instances
from dreamfusion3d.pipelines.surface_extraction import surface_of

class Voxels(torch.nn.Module):
    start = None
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(1, 4, 12, 12, 12))
    def read(self, x):
        return F.grid_sample(self.table, x.flip(-1)[None, :, None, None], align_corners=True)[0, :, :, 0, 0]
    def density(self, x):
        return F.softplus(10 - 20 * x.norm(dim=-1) + self.read(x)[0])
    def albedo(self, x):
        return torch.sigmoid(self.read(x)[1:].T)
    def set_sharpness(self, value):
        pass

generator = torch.Generator().manual_seed(0)
props = instances("mushroom", 0, "normal", 1, generator=generator)
prior = IdealPrior(props, Meaning("mushroom", "red"), rounds=1, views=2, size=16, generator=generator)
config = with_values(Config(), {
    "optim.steps": 4, "optim.num_views": 2, "render.resolution": 16, "render.coarse_resolution": 16,
    "render.step_size": 0.1, "render.occupancy_grid_resolution": 8,
})
field, text = Voxels(), prior.encode_text(["a mushroom", ""])
loop = optimize(field, prior, text, config, generator=generator, sample_cameras=prior.sample_cameras)
norms = [step.gradient_norm for step in loop]
assert len(norms) == 4 and min(norms) > 0 and (field.table.abs().amax((0, 2, 3, 4)) > 0).all()
assert len(surface_of(field, 24, generator).faces) > 100
"""


def test_a_field_of_ones_own_is_as_little_as_the_docs_say():
    """In a process of its own: here its class would be checked, there what the loop asks of it."""
    ran = subprocess.run([sys.executable, "-c", OWN_FIELD], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
