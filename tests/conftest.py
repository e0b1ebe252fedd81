"""Test modules of each folder share the oracles beside this file."""

import sys
from pathlib import Path

import torch

for folder in (Path(__file__).parent, Path(__file__).parent / "routing"):
    sys.path.insert(0, str(folder))
torch.set_num_threads(2)
