"""Peak memory: the most that was in use while something ran."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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
    before : int
        What was measured of the same work in a process before this one; the peak is no less.
    """

    kind: str
    bytes: int | None = None
    before: int = 0
    reading: Callable[[], int] | None = field(default=None, repr=False, compare=False)

    def so_far(self) -> int | None:
        """Return the peak up to now; None where it is not known."""
        return self.bytes if self.reading is None else max(self.before, self.reading())

    def close(self) -> None:
        """Let the peak be what it has been up to now."""
        self.bytes, self.reading = self.so_far(), None


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
        torch.cuda.reset_peak_memory_stats(device)
        peak = Peak("allocated", reading=lambda: torch.cuda.max_memory_allocated(device))
    elif device.type == "cpu":
        before = _greatest_resident_set()
        peak = Peak("resident rise", reading=lambda: _greatest_resident_set() - before)
    else:
        raise InputError(
            f"peak memory of device '{device}' cannot be measured here; use cuda where there is a GPU, or cpu"
        )
    try:
        yield peak
    finally:
        peak.close()


def _greatest_resident_set() -> int:
    try:
        import resource
    except ImportError:
        raise InputError("peak memory of a processor needs Python's resource module, absent here; use cuda") from None
    unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes on macOS, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
