"""Test modules share the oracles, studies and shapes that lie beside them, and none depends on where they are run."""

import os
import signal
import sys
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE / "datasets", HERE / "fields", HERE / "routing", HERE / "symmetry"):
    sys.path.insert(0, str(folder))

os.environ.pop("COLUMNS", None)  # the width of another's terminal
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of a suite that was begun in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)
