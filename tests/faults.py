"""A study on a disk that fails: from the n-th operation on, or at it alone, the system refuses what writes."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Callable
from pathlib import Path

OPERATIONS = ("open", "fsync", "replace", "unlink")


class Disk:
    """Counts what writes to a folder, and refuses some of it.

    Parameters
    ----------
    folder : str
    first : int
        The operation that is refused, from 0; -1 is none.
    code : int
        Of the error.
    stays : bool
        Whether all operations after it are refused too, as on a disk that has turned read-only.
    """

    def __init__(self, folder: str, first: int, code: int, stays: bool) -> None:
        self.folder, self.first, self.code, self.stays, self.count = folder, first, code, stays, 0
        for name in OPERATIONS:
            setattr(os, name, self._guarded(name, getattr(os, name)))

    def _guarded(self, name: str, operation: Callable) -> Callable:
        def guarded(path, *args, **options):
            writes = name != "open" or (args and args[0] & os.O_CREAT)
            ours = isinstance(path, int) or str(path).startswith(self.folder)
            if writes and ours:
                self.count += 1
                if self.count - 1 == self.first or (self.stays and 0 <= self.first < self.count):
                    raise OSError(self.code, os.strerror(self.code))
            return operation(path, *args, **options)

        return guarded


def faulty_run(protocol: str, folder: str, told: str, first: int, code: int, stays: bool) -> None:
    """Run a study on such a disk, and write what became of it to the file `told`, by the system's own means."""
    import torch

    from rfmodel import protocols, study
    from rfmodel.errors import InputError

    torch.set_num_threads(1)
    write = Path(told).write_text
    disk, read = Disk(folder, first, code, stays), protocols.load(protocol)
    error, kind, states = "", "", []
    try:
        outcomes = study.run_study(read, Path(folder), manner=study.Manner(checkpoint="1 epochs"))
        states = [(outcome.state, outcome.error) for outcome in outcomes]
    except InputError as refused:
        error, kind = str(refused), type(refused).__name__
    write(json.dumps({"count": disk.count, "error": error, "kind": kind, "states": states}))


CODES = {"full": errno.ENOSPC, "read-only": errno.EROFS, "broken": errno.EIO, "denied": errno.EACCES}
