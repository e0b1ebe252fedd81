"""Allotment: which device each worker computes on, with how many threads, and who tries again alone. Knows no torch."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence

from rfmodel.errors import InputError

GIB = 2**30
ROOM = 2 * GIB  # bytes of free GPU memory for each worker that shares: half a GiB of it is CUDA's own
LOOK = """
import json, torch
print(json.dumps([torch.cuda.mem_get_info(i) for i in range(torch.cuda.device_count())]))
"""


def divided(threads: int, workers: int) -> int:
    """Return how many threads each of the workers has; at least one."""
    return max(1, threads // workers)


def allotted(device: str, workers: int, gpus: Sequence[tuple[int, int]]) -> list[str]:
    """Return the device of each worker: a GPU each, shared where there is room.

    Parameters
    ----------
    device : str
        "cpu" or "mps" for all; "cuda" for every GPU here; "cuda:1" for that one.
    workers : int
    gpus : sequence of (free, total)
        Memory of each GPU in bytes.

    Raises
    ------
    InputError
        If the GPU is not there, or there is no room for so many; the message says what is free and how many would do.
    """
    kind, _, place = device.partition(":")
    if kind != "cuda":
        return [device] * workers
    places = range(len(gpus)) if not place else [int(place)] if place.isdecimal() and int(place) < len(gpus) else []
    if not places:
        raise InputError(f"--device '{device}': {len(gpus)} GPUs are here; use a GPU that is there, or cpu")
    room = {i: gpus[i][0] // ROOM for i in places}
    if workers > 1 and sum(room.values()) < workers:
        free = ", ".join(f"cuda:{i} {gpus[i][0] / GIB:.1f} GiB" for i in places)
        raise InputError(
            f"--workers {workers} on --device '{device}' need {ROOM // GIB} GiB of free GPU memory each, and free are "
            f"{free}; use --workers {max(1, sum(room.values()))}"
        )
    held = dict.fromkeys(places, 0)
    for _ in range(workers):
        # Of one worker nothing is asked: it has the GPU to itself, and the run says whether it fits.
        i = min(places, key=lambda i: (held[i] >= room[i], held[i], i))
        held[i] += 1
    rounds = range(max(held.values()))
    return [f"cuda:{i}" for n in rounds for i in places if held[i] > n]


def gpus_here() -> list[tuple[int, int]]:
    """Return free and total memory in bytes of each GPU, seen by a process of its own.

    To look takes a CUDA context of hundreds of megabytes on each GPU, which ends with that process.

    Raises
    ------
    InputError
        If they cannot be looked at.
    """
    done = subprocess.run([sys.executable, "-P", "-c", LOOK], capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing said"])[-1]
        raise InputError(f"--device 'cuda': the GPUs cannot be looked at ({said}); use --device cpu")
    return [(int(free), int(total)) for free, total in json.loads(done.stdout.splitlines()[-1])]


def fits_alone(error: str, device: str, devices: Sequence[str]) -> bool:
    """Return whether a failed run may fit its GPU once it has it alone.

    Parameters
    ----------
    error : str
        Why it failed.
    device : str
        Where.
    devices : sequence of str
        Those of all workers.
    """
    starved = "CUDA" in error and ("out of memory" in error or "ALLOC_FAILED" in error)
    return starved and device.startswith("cuda") and list(devices).count(device) > 1


def alone(devices: Sequence[str], killed: bool) -> list[str]:
    """Return the devices of those who try again alone: one worker a GPU; one in all where the system killed some."""
    return list(dict.fromkeys(devices))[: 1 if killed else None]
