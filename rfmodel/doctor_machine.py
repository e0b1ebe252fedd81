"""Processor, memory and devices, as far as this process may use them."""

from __future__ import annotations

import math
import os
import platform
import shutil
import subprocess
import warnings
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
INFO, CPU = Path("/proc/meminfo"), Path("/proc/cpuinfo")
UNITS = {"avx512_bf16": "avx512_bf16", "amx_bf16": "amx_bf16", "avx10": "avx10", "bf16": "Arm bf16"}
LOW = 1.0  # GiB
WAIT = 10  # seconds for nvidia-smi


def processor() -> tuple[str, str]:
    """Return the processor's name, and the cores that this process may use."""
    names = [line.partition(":")[2].strip() for line in _cpuinfo() if line.startswith("model name")]
    share = quota()
    limited = "" if share is None else f", a share of {share:g} by the control group"
    return f"{names[0] if names else platform.machine()}; {cores()} of {os.cpu_count()} cores allowed{limited}", "ok"


def cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def quota() -> float | None:
    """Return the processor time that the control groups allow, in cores; None where they set no limit."""
    limits = []
    for folder in groups("cpu"):
        words = _words(folder / "cpu.max") or [
            *_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us"),
        ]  # fmt: skip
        # "max" and -1 are no limit
        if len(words) == 2 and all(word.isdecimal() for word in words) and int(words[1]):
            limits.append(int(words[0]) / int(words[1]))
    return min(limits, default=None)


def groups(controller: str) -> list[Path]:
    """Return the folders of this process's control group and of all above it: the tightest limit is the one that holds.

    Parameters
    ----------
    controller : str
        "cpu" or "memory", each in a hierarchy of its own in version 1.
    """
    found = [GROUPS, GROUPS / controller]
    for line in _lines(OWN):
        _, named, place = line.split(":", 2) if line.count(":") >= 2 else ("", "?", "")
        if named == "" or controller in named.split(","):
            root = GROUPS / controller if named else GROUPS
            path = root / place.lstrip("/")
            found += [path, *(above for above in path.parents if above.is_relative_to(root))]
    return list(dict.fromkeys(found))


def threads() -> tuple[str, str]:
    """Return how many threads torch computes with, against the cores that are allowed."""
    import torch

    used, allowed = torch.get_num_threads(), min(cores(), math.ceil(quota() or cores()))
    if used > allowed:
        return f"torch uses {used}, and {allowed} cores are allowed; --threads {allowed} would be faster", "note"
    return f"torch uses {used}; --threads sets another number", "ok"


def memory() -> tuple[str, str]:
    """Return total and free memory, and the control group's limit where one is set."""
    rows = {line.partition(":")[0]: line.split()[1] for line in _lines(INFO) if len(line.split()) > 1}
    if "MemTotal" not in rows:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return f"{total:.1f} GiB", "ok"
    total, free = (int(rows[key]) / 2**20 for key in ("MemTotal", "MemAvailable"))
    told, limit = f"{free:.1f} of {total:.1f} GiB free", group_memory()
    if limit is not None and limit[0] < total:
        left = limit[0] - limit[1]
        told, free = f"{told}; the control group allows {limit[0]:.1f} GiB, {left:.1f} left", min(free, left)
    return told, "ok" if free >= LOW else "note"


def group_memory() -> tuple[float, float] | None:
    """Return the tightest limit of memory of the control groups and what of it is used, in GiB; None without one."""
    limits = []
    for folder in groups("memory"):
        for most, used in (("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")):
            words = [*_words(folder / most), *_words(folder / used)]
            if len(words) == 2 and all(word.isdecimal() for word in words):
                limits.append((int(words[0]) / 2**30, int(words[1]) / 2**30))
    return min(limits, default=None, key=lambda limit: limit[0] - limit[1])


def devices() -> tuple[str, str]:
    """Return the devices that train, and which one "auto" is."""
    import torch

    with warnings.catch_warnings(record=True) as said:  # of a driver that is too old
        warnings.simplefilter("always")
        found = [_gpu(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    if found:
        return f"{'; '.join(found)}; CUDA {torch.version.cuda}, driver {_driver()}", "ok"
    if said:
        return f"processor only: {str(said[0].message).splitlines()[0]}", "note"
    if torch.backends.mps.is_available():
        return "Apple GPU by --device mps; auto is the processor", "ok"
    return "processor only", "ok"


def _gpu(index: int) -> str:
    import torch

    free, total = (size / 2**30 for size in torch.cuda.mem_get_info(index))
    capability = ".".join(map(str, torch.cuda.get_device_capability(index)))
    name = torch.cuda.get_device_name(index)
    return f"cuda:{index} {name}, {free:.1f} of {total:.1f} GiB free, capability {capability}"


def _driver() -> str:
    if not (program := shutil.which("nvidia-smi")):
        return "unknown"
    asked = [program, "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(asked, capture_output=True, text=True, timeout=WAIT, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    lines = done.stdout.split()
    return lines[0] if lines and done.returncode == 0 else "unknown"


def bf16() -> tuple[str, str]:
    """Return which units multiply bf16 numbers, and what precision "auto" is here."""
    import torch

    from rfmodel.precision import resolve

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    lines = [line for line in _cpuinfo() if line.lower().startswith(("flags", "features"))]
    words = lines[0].partition(":")[2].split() if lines else []
    units = [told for flag, told in UNITS.items() if flag in words]
    if device.type == "cuda":
        units.append(f"GPU of capability {'.'.join(map(str, torch.cuda.get_device_capability()))}")
    chosen = resolve("auto", device)
    return f"{', '.join(units) or 'no units'}; precision auto is {chosen} on {device.type}", "ok"


def _cpuinfo() -> list[str]:
    return _lines(CPU)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="replace").splitlines()
    except OSError:
        return []


def _words(path: Path) -> list[str]:
    return [word for line in _lines(path)[:1] for word in line.split()]
