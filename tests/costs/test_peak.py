"""Peak memory: what a context saw at most."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from rfmodel.costs import peak_memory
from rfmodel.errors import InputError

PROGRAM = """
import resource
import numpy as np
from rfmodel.costs import peak_memory
now = int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize()
room = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - now  # what a larger parent left of its own peak
with peak_memory("cpu") as peak:
    big = np.ones((room + (1 << 28)) // 8)
    del big
with peak_memory("cpu") as after:
    np.ones(1 << 20)
print(peak.kind, peak.bytes, after.bytes, sep=";")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="what is resident now is read from /proc")
def test_a_processor_tells_the_rise_of_the_whole_process_and_no_smaller_one_after():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    kind, rise, after = done.stdout.strip().split(";")
    assert kind == "resident rise"
    assert int(rise) == pytest.approx(1 << 28, rel=0.05)  # the rest is the interpreter's own
    assert int(after) == 0


def test_the_peak_is_unknown_until_the_context_is_left_and_known_after_an_error():
    with pytest.raises(KeyError), peak_memory("cpu") as peak:
        assert peak.bytes is None
        raise KeyError
    assert peak.bytes >= 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_a_gpu_tells_what_was_allocated_at_most():
    held = torch.ones(1 << 20, device="cuda")
    before = torch.cuda.memory_allocated()
    torch.ones(1 << 26, device="cuda")  # a greater peak of an earlier time
    with peak_memory("cuda") as peak:
        torch.ones(1 << 24, device="cuda")
    assert peak.kind == "allocated" and peak.bytes == before + (1 << 26)
    assert len(held) == 1 << 20


def test_devices_without_an_account_are_refused(monkeypatch):
    with pytest.raises(InputError, match="peak memory of device 'meta' cannot be measured here"), peak_memory("meta"):
        pass
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="peak memory of device 'cuda:1' cannot be measured"), peak_memory("cuda:1"):
        pass
    monkeypatch.setitem(sys.modules, "resource", None)
    with pytest.raises(InputError, match="needs Python's resource module, absent here"), peak_memory("cpu"):
        pass
