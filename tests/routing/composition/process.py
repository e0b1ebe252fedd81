"""One of two processes: trains cells on its half of each batch under DistributedDataParallel and saves what it got.

Run as: python process.py rank store-file result-file. Its parent compares; see test_two_processes.py.
"""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

HERE = Path(__file__).parent
for folder in (HERE, HERE.parent):
    sys.path.insert(0, str(folder))

import torch  # noqa: E402
import torch.distributed as dist  # noqa: E402
from composed import CELLS, gradients, lay  # noqa: E402
from torch.nn.parallel import DistributedDataParallel  # noqa: E402

N = 10  # images of a step, half of them a process's
STEPPED = [("retina", case) for case in ("brsf", "weight_mirror", "kolen_pollack", "ldfa, eq. 15")]
STEPPED += [("retina", "ldfa_normative, released code"), ("perceptron", "ssa2025")]
COMPILED = [("perceptron", case) for case in ("fa", "kolen_pollack", "ldfa, eq. 15")]


def ready(kind, case):
    model, images, labels = lay(kind, case, n=N)
    # Batch norm's own statistics are a half's in training: it would not be the rules that are compared.
    return model.eval(), images, labels


def steps(model, images, labels, call=None, count=3):
    """Train for some steps and return the weights and the maps."""
    optimiser = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 0.1)
    for _ in range(count):
        gradients(model, images, labels, call=call)
        optimiser.step()
        model.advance([optimiser])
    return {name: p.detach().clone() for name, p in model.named_parameters()}


def main(rank: int, store: str, result: str) -> None:
    torch.set_num_threads(1)
    patience = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2, timeout=patience)
    half = slice(rank * N // 2, (rank + 1) * N // 2)
    found = {}
    for kind, case in CELLS:
        model, images, labels = ready(kind, case)
        shared = DistributedDataParallel(model)
        found["gradients", kind, case] = gradients(model, images[half], labels[half], call=shared)
    for kind, case in STEPPED:
        model, images, labels = ready(kind, case)
        shared = DistributedDataParallel(model)
        found["steps", kind, case] = steps(model, images[half], labels[half], shared)
    for kind, case in COMPILED:
        model, images, labels = ready(kind, case)
        shared = DistributedDataParallel(torch.compile(model, fullgraph=True, backend="aot_eager"))
        found["compiled", kind, case] = gradients(model, images[half], labels[half], call=shared)
    torch.save(found, result)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
