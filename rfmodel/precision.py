"""Precision: bf16 where the hardware has units for it, fp32 elsewhere."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import torch

FLAGS = {"avx512_bf16", "amx_bf16", "avx10", "bf16"}  # x86 and 64-bit Arm names in /proc/cpuinfo


def resolve(precision: str, device: torch.device) -> str:
    """Return "bf16" or "fp32" for "auto", "bf16" or "fp32" on a device.

    "auto" is bf16 where it is computed and not emulated: a processor that lists bf16 instructions, a GPU of compute
    capability 8.0 or more. Weights, optimisers and losses stay in fp32 either way (torch.autocast).
    """
    if precision != "auto":
        return precision
    return "bf16" if has_bf16_units(device) else "fp32"


def has_bf16_units(device: torch.device) -> bool:
    """Whether the device multiplies bf16 numbers in hardware."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and bool(FLAGS & _processor_flags())


@cache
def _processor_flags() -> frozenset[str]:
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return frozenset()
    lines = path.read_text(errors="replace").splitlines()
    flags = [line.partition(":")[2] for line in lines if line.lower().startswith(("flags", "features"))]
    return frozenset(flags[0].split()) if flags else frozenset()


def autocast(precision: str, device: torch.device) -> torch.autocast:
    """Return the autocast context of a resolved precision."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bf16")
