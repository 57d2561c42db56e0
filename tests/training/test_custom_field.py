"""distill_field and extract_surface accept any field that meets docs/architecture.md, "Swap a part"."""

from __future__ import annotations

import subprocess
import sys

CUSTOM_FIELD = """
import torch
import torch.nn.functional as F
from dreamfusion3d.core.config import Config, override_config
from dreamfusion3d.pipelines.surface_extraction import extract_surface
from tests.support.oracle import OraclePrior
from dreamfusion3d.priors.view_prompts import encode_prompts
from dreamfusion3d.procedural.objects import ObjectSpec, sample_objects
from dreamfusion3d.training.distillation import distill_field

class VoxelField(torch.nn.Module):
    init = None
    def __init__(self):
        super().__init__()
        self.table = torch.nn.Parameter(torch.zeros(1, 4, 12, 12, 12))
    def interpolate(self, x):
        return F.grid_sample(self.table, x.flip(-1)[None, :, None, None], align_corners=True)[0, :, :, 0, 0]
    def density(self, x):
        return F.softplus(10 - 20 * x.norm(dim=-1) + self.interpolate(x)[0])
    def albedo(self, x):
        return torch.sigmoid(self.interpolate(x)[1:].T)
    def set_sharpness(self, value):
        pass

generator = torch.Generator().manual_seed(0)
objects = sample_objects("mushroom", 0, "normal", 1, generator=generator)
spec = ObjectSpec("mushroom", "red")
prior = OraclePrior(objects, spec, num_camera_sets=1, views=2, resolution=16, generator=generator)
config = override_config(Config(), {
    "optim.steps": 4, "optim.num_views": 2, "render.resolution": 16, "render.coarse_resolution": 16,
    "render.step_size": 0.1, "render.occupancy_grid_resolution": 8,
})
field, prompts = VoxelField(), encode_prompts(prior, "a mushroom", config.prompts)
steps = distill_field(field, prior, prompts, config, generator=generator, sample_cameras=prior.sample_cameras)
norms = [step.gradient_norm for step in steps]
assert len(norms) == 4 and min(norms) > 0 and (field.table.abs().amax((0, 2, 3, 4)) > 0).all()
assert len(extract_surface(field, 24, generator).faces) > 100
"""


def test_distill_field_with_a_custom_field() -> None:
    """In a separate process without type checking, which would require the annotations of `NerfField`."""
    result = subprocess.run([sys.executable, "-c", CUSTOM_FIELD], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
