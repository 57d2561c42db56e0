"""The tests mirror the package."""

import os

import torch

if not torch.cuda.is_available():
    # read when Triton is first imported, which torch may do at any time
    os.environ.setdefault("TRITON_INTERPRET", "1")
