"""Whether torch.compile works, tried in a process of its own: a broken compiler can hang or crash no command."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress

PATIENCE = 120.0  # seconds; a first compilation takes 10 to 40 on two cores
PROGRAM = "from rfmodel.doctor_compiler import compile_routed; compile_routed()"


def compiles(patience: float = PATIENCE, program: str = PROGRAM) -> tuple[str, str]:
    """Return what a trial of torch.compile came to, in one line, and "ok" or "note".

    Parameters
    ----------
    patience : float
        Seconds after which the trial is ended.
    program : str
        Python that ends with code 0 where it works.
    """
    with tempfile.TemporaryDirectory(prefix="rfmodel-", ignore_cleanup_errors=True) as folder:
        # Caches of its own: what was compiled before says nothing of the compiler that is here now.
        environment = os.environ | {
            "TORCHINDUCTOR_CACHE_DIR": folder, "TRITON_CACHE_DIR": folder, "TORCHINDUCTOR_COMPILE_THREADS": "1",
        }  # fmt: skip
        trial = subprocess.Popen(
            [sys.executable, "-c", program],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            env=environment, start_new_session=True, text=True, errors="replace",
        )  # fmt: skip
        try:
            _, said = trial.communicate(timeout=patience)
        except subprocess.TimeoutExpired:
            return f"no answer within {patience:.0f} s; train.compile = true would wait as long", "note"
        finally:
            _end(trial)
    if trial.returncode == 0:
        return "works: a routed network was compiled, forward and backward", "ok"
    return f"does not work ({_last(said) or _code(trial.returncode)}); train.compile = true is refused here", "note"


def _end(trial: subprocess.Popen) -> None:
    """End the trial and the compilers that it started: they are one process group."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(trial.pid, signal.SIGKILL) if hasattr(os, "killpg") else trial.kill()
    trial.wait()
    trial.stderr.close()


def _last(said: str) -> str:
    """Return the last line of what was said, of a refusal its reason."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return last.partition("here (")[2].partition("); install")[0] or last[:160]


def _code(code: int) -> str:
    return f"ended by signal {-code}" if code < 0 else f"ended with code {code}"


def compile_routed() -> None:
    """Compile a small routed network on the device that rfmodel would choose, and pass forward and backward."""
    import torch
    from torch import nn

    from rfmodel.compiling import compiled
    from rfmodel.routing import Routed

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    images, labels = torch.ones(4, 1, 8, 8, device=device), torch.zeros(4, dtype=torch.long, device=device)
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 3)).to(device)
    routed = Routed(network, {"*": "fa"}, images[:2])
    nn.functional.cross_entropy(compiled(routed, device)(images, labels), labels).backward()
