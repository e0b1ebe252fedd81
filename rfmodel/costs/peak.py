"""Peak memory: the most that was in use while something ran."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from rfmodel.errors import InputError


@dataclass
class Peak:
    """What `peak_memory` measures.

    Parameters
    ----------
    bytes : int or None
        None while the context is open.
    kind : "allocated" or "resident rise"
        On a GPU all tensors of this process there at the peak, those from before included; on a processor the rise
        of the whole process's greatest resident set over what it had been before.
    """

    kind: str
    bytes: int | None = None


@contextmanager
def peak_memory(device: torch.device | str) -> Iterator[Peak]:
    """Within this context the peak of memory is watched; afterwards the yielded `Peak` holds it.

    On a GPU it is what PyTorch's allocator handed out at most, counted from the entry on. On a processor it is coarse:
    the operating system keeps one greatest resident set for the life of a process, everything in it (libraries, data,
    other threads), so that it can only rise. 0 means that the process had used as much before. On Linux a process
    starts with the peak of the one that it was forked from: a fresh one, from a small one, says most.

    Parameters
    ----------
    device : torch.device
        A GPU (cuda) or a processor (cpu).

    Raises
    ------
    InputError
        If the device keeps no such account, or is not there.
    """
    device = torch.device(device)
    if device.type == "cuda" and torch.cuda.is_available():
        peak = Peak("allocated")
        torch.cuda.reset_peak_memory_stats(device)
        try:
            yield peak
        finally:
            peak.bytes = torch.cuda.max_memory_allocated(device)
    elif device.type == "cpu":
        peak, before = Peak("resident rise"), _greatest_resident_set()
        try:
            yield peak
        finally:
            peak.bytes = _greatest_resident_set() - before
    else:
        raise InputError(
            f"peak memory of device '{device}' cannot be measured here; use cuda where there is a GPU, or cpu"
        )


def _greatest_resident_set() -> int:
    try:
        import resource
    except ImportError:
        raise InputError("peak memory of a processor needs Python's resource module, absent here; use cuda") from None
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
