"""Two processes under DistributedDataParallel (gloo), each with half of the batch, against one process with all of it.

The processes' gradients are averaged. With a mean loss that is the whole batch's gradient. Where Oja's rule reads
statistics of the batch (Algorithm 2, the released code), a batch is a process's: its pseudo-gradient is the mean of
the halves', as with gradient accumulation.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from composed import CELLS, assert_same, gradients, named
from process import COMPILED, STEPPED, N, ready, steps
from properties import BATCH_STATISTICS

SUMMED_APART = 1e-10  # float64; halves are added up in another order than the whole
LIMIT = 240  # seconds after which processes that wait for each other are ended

pytestmark = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this build of torch has no gloo"
)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What each of the two processes got."""
    folder = tmp_path_factory.mktemp("processes")
    script, store = Path(__file__).with_name("process.py"), folder / "store"
    results = [folder / f"rank{rank}.pt" for rank in range(2)]
    root = str(Path(__file__).parents[3])
    paths = os.pathsep.join(filter(None, (root, os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": paths}
    running = [
        subprocess.Popen(
            [sys.executable, str(script), str(rank), str(store), str(result)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank, result in enumerate(results)
    ]
    try:
        said = [process.communicate(timeout=LIMIT)[0] for process in running]
    finally:
        for process in running:
            process.kill()
            process.wait()
            process.stdout.close()
    for process, text in zip(running, said, strict=True):
        assert process.returncode == 0, text[-2000:]
    return [torch.load(result) for result in results]


def mean_of_halves(kind, case):
    model, images, labels = ready(kind, case)
    a, b = (gradients(model, images[h], labels[h]) for h in (slice(0, N // 2), slice(N // 2, N)))
    return {name: (a[name] + b[name]) / 2 for name in a}


@pytest.mark.parametrize(("kind", "case"), CELLS, ids=named(CELLS))
def test_two_halves_have_the_gradients_of_the_whole(ranks, kind, case):
    first, second = (rank["gradients", kind, case] for rank in ranks)
    assert_same(first, second)
    assert_same(first, mean_of_halves(kind, case), SUMMED_APART)
    whole = gradients(*ready(kind, case))
    if case in BATCH_STATISTICS:
        for found in (first, whole):
            for name in [name for name in found if name.startswith("feedback.") and name.endswith("P")]:
                del found[name]
    assert_same(first, whole, SUMMED_APART)


@pytest.mark.parametrize(("kind", "case"), STEPPED, ids=named(STEPPED))
def test_processes_stay_identical_over_steps(ranks, kind, case):
    first, second = (rank["steps", kind, case] for rank in ranks)
    assert_same(first, second)
    assert_same(first, steps(*ready(kind, case)), 1e-8)  # three steps, each on the rounding of those before


@pytest.mark.parametrize(("kind", "case"), COMPILED, ids=named(COMPILED))
def test_compiled_halves_have_the_gradients_of_the_whole(ranks, kind, case):
    first, second = (rank["compiled", kind, case] for rank in ranks)
    assert_same(first, second)
    assert_same(first, gradients(*ready(kind, case)), SUMMED_APART)
