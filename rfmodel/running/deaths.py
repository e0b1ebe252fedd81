"""Deaths: why a process ended, as far as its return code and the system's count of killings say. Knows no torch."""

from __future__ import annotations

import re
import signal
from pathlib import Path

GROUPS, OWN = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def killings(groups: Path = GROUPS, own: Path = OWN) -> int | None:
    """Return how many processes of this one's control group the system has killed for want of memory.

    Returns
    -------
    int or None
        None where the system keeps no such count that can be read.
    """
    for path in _counts(groups, own):
        try:
            found = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return None


def _counts(groups: Path, own: Path) -> list[Path]:
    """Return where the count may stand, likeliest first; inside a container the group's own path is not mounted."""
    try:
        rows = [line.split(":", 2) for line in own.read_text().splitlines()]
    except OSError:
        return []
    paths: list[Path] = []
    for _, controllers, place in (row for row in rows if len(row) == 3):
        if controllers == "":  # version 2
            paths += [groups / place.lstrip("/") / "memory.events", groups / "memory.events"]
        elif "memory" in controllers.split(","):
            root = groups / "memory"
            paths += [root / place.lstrip("/") / "memory.oom_control", root / "memory.oom_control"]
    return paths


def cause(code: int, starved: bool, last: str = "") -> str:
    """Return what became of a process, in words that follow "its worker".

    Parameters
    ----------
    code : int
        As `subprocess.Popen.returncode`: negative for a signal.
    starved : bool
        Whether the system's count of processes killed for want of memory rose meanwhile.
    last : str
        What the process said last.
    """
    said = f": {last}" if last else ""
    if code == -signal.SIGKILL:
        return "was killed by the system, out of memory" if starved else "was killed by signal 9 (out of memory?)"
    if code < 0:
        return f"was killed by signal {-code} ({_name(-code)}){said}"
    return f"ended with code {code}{said}"


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return "unknown"
