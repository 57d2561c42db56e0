"""A worker for `run_native_worker` that stores its process ID and never finishes."""

import os
import sys
import time
from pathlib import Path

import numpy as np

with np.load(sys.argv[1], allow_pickle=False) as inputs:
    Path(str(inputs["pid_file"])).write_text(str(os.getpid()))
time.sleep(300)
