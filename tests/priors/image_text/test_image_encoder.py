"""Squares of images for an image encoder."""

from __future__ import annotations

import torch

from dreamfusion3d.priors.image_text.image_encoder import center_crop


def test_center_crop_cuts_a_square_from_the_middle() -> None:
    wide = torch.arange(10.0).expand(1, 1, 6, 10)
    assert torch.equal(center_crop(wide, 6)[0, 0, 0], torch.arange(2.0, 8.0))
    assert center_crop(wide, 3).shape == (1, 1, 3, 3)
