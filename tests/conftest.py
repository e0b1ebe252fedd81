"""Test modules share the oracles, studies and shapes that lie beside them."""

import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE / "datasets", HERE / "fields", HERE / "routing", HERE / "symmetry"):
    sys.path.insert(0, str(folder))
