"""Alive: which process of which machine wrote something, and whether it still lives."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from functools import cache

GONE = ("Z", "X")  # states of a process that has ended and is not yet buried


@dataclass(frozen=True)
class Process:
    """A process: a tag of its machine, its number there, and when it started (0 where the system does not tell)."""

    machine: str
    pid: int
    start: int

    def lives(self) -> bool | None:
        """Return whether it lives; None where this machine cannot know."""
        if self.machine != machine() or os.name != "posix" or not 0 < self.pid < 2**31:
            return None
        try:
            os.kill(self.pid, 0)  # sends nothing
        except ProcessLookupError:
            return False
        except OSError:
            pass  # another user's, and there
        found = _state(self.pid)
        if found is None or not self.start:
            return None
        # Numbers are given again: another process under this one started at another time.
        return found[1] == self.start and found[0] not in GONE


def this_process() -> Process:
    """Return the process that asks; after a fork, the child."""
    found = _state(os.getpid())
    return Process(machine(), os.getpid(), 0 if found is None else found[1])


@cache
def machine() -> str:
    """Return a tag of this machine as long as it is up, and of the part of it within which process numbers hold."""
    parts = [platform.node()]
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            parts.append(file.read().strip())
        parts.append(os.readlink("/proc/self/ns/pid"))
    except OSError:
        pass  # no Linux: the name alone tells
    return hashlib.sha256("|".join(parts).encode(errors="surrogateescape")).hexdigest()[:12]


def _state(pid: int) -> tuple[str, int] | None:
    """Return a process's state and its start, in ticks since the machine's; None where the system does not tell."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()  # the name before it may hold anything
        return fields[0].decode("ascii"), int(fields[19])
    except (OSError, ValueError, IndexError):
        return None
