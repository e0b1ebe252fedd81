"""Holders: what a claim's file says of who has a run, and which of them are there."""

from __future__ import annotations

import json
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rfmodel.store.alive import Process, this_process
from rfmodel.store.paths import NAME, claim_path
from rfmodel.store.wording import one_line

LENGTH = 1024  # bytes of a claim's file: each beat is written over the last
MARK = 40  # bytes that begin the file and tell one claim from every other
FORM = re.compile(rf"(?P<name>{NAME.pattern})\.claim(?P<generation>[0-9]{{1,15}})")


@dataclass(frozen=True)
class Holder:
    """Who has claimed a run.

    Parameters
    ----------
    host : str
        "" where the claim's file is damaged, or is just being written.
    pid : int
    since : str
        ISO 8601, by the holder's clock.
    alive : bool or None
        Whether its process lives; None where another machine would have to be asked.
    """

    host: str
    pid: int
    since: str
    alive: bool | None


class Mark:
    """What a claim's file holds, beat by beat."""

    def __init__(self) -> None:
        me = this_process()
        self._begin = f'{{"claim": "{os.urandom(12).hex()}", '.encode().ljust(MARK)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        host = one_line(platform.node(), 64)
        self._row = {"host": host, "machine": me.machine, "pid": me.pid, "start": me.start, "since": since}

    def content(self, beat: int) -> bytes:
        """Return the file's content, of one length whatever the beat."""
        rest = json.dumps({**self._row, "beat": beat}).encode().removeprefix(b"{")
        return (self._begin + rest).ljust(LENGTH - 1) + b"\n"

    def made(self, content: bytes) -> bool:
        """Whether a file is this claim's, were it cut off in the middle of a beat."""
        return content.startswith(self._begin)


def holder_of(content: bytes) -> Holder:
    """Return who wrote a claim's file; of a damaged one, nobody who could be known to be gone."""
    try:
        row = json.loads(content)
        host, pid, since = (row[key] for key in ("host", "pid", "since"))
        if type(pid) is not int or type(row["start"]) is not int or not isinstance(host, str):
            raise ValueError
        alive = Process(str(row["machine"]), pid, row["start"]).lives()
        return Holder(one_line(host, 64), pid, datetime.fromisoformat(since).isoformat(), alive)
    except (ValueError, TypeError, KeyError, RecursionError):
        return Holder("", 0, "", None)


def generations(folder: Path, name: str) -> dict[int, bytes]:
    """Return the contents of a run's claim files by generation, in order; of one that cannot be read, b""."""
    numbers = sorted(number for found, number in _claims(folder) if found == name)
    contents = {number: contents_of(claim_path(folder, name, number)) for number in numbers}
    return {number: content for number, content in contents.items() if content is not None}


def contents_of(path: Path) -> bytes | None:
    """Return a claim file's content; None where it is not there. Opening asks a file server anew."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(LENGTH)
    except FileNotFoundError:
        return None
    except OSError:
        return b""


def holders(folder: Path) -> dict[str, Holder]:
    """Return who has claimed each run of a study that is claimed."""
    newest: dict[str, int] = {}
    for name, number in _claims(folder):
        newest[name] = max(number, newest.get(name, 0))
    contents = {name: contents_of(claim_path(folder, name, number)) for name, number in sorted(newest.items())}
    return {name: holder_of(content) for name, content in contents.items() if content is not None}


def _claims(folder: Path) -> Iterator[tuple[str, int]]:
    """Return the names and generations of a study's claims."""
    try:
        with os.scandir(folder / "runs") as found:
            matches = [FORM.fullmatch(entry.name) for entry in found]
    except OSError:
        return  # not there, or not to be read: writing tells
    yield from ((match["name"], int(match["generation"])) for match in matches if match)
