"""Freed memory is kept: counted in page faults, not in seconds."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, torch
from rfmodel.memory import keep_freed_memory
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        torch.ones(1 << 24)  # 64 MiB, above what the C library ever keeps by itself
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
own = faults()
assert keep_freed_memory()
faults()  # the heap finds its size
kept = faults()
assert keep_freed_memory(False)
print(own, kept)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is the GNU C library's")
def test_a_kept_block_is_not_faulted_in_again():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    own, kept = map(int, done.stdout.split())
    assert kept < own / 10


def test_other_libraries_are_left_alone(monkeypatch):
    from rfmodel import memory

    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert memory.keep_freed_memory() is False
