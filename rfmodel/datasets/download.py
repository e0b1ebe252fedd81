"""Fetch a published archive: written aside, checked, and only then given its name."""

from __future__ import annotations

import hashlib
import http.client
import os
import urllib.error
import urllib.request
from pathlib import Path

from rfmodel.datasets.finding import data_folder
from rfmodel.datasets.layouts import LAYOUTS, Layout
from rfmodel.datasets.progress import Progress, silent
from rfmodel.errors import InputError, one_of

CHUNK = 2**18  # bytes
PATIENCE = 30.0  # seconds without a byte before the transfer is given up


def download(name: str, folder: str | Path | None = None, progress: Progress | None = None) -> Path:
    """Fetch the archive of pickled batches of `name` from its published address and return its path.

    An archive that is there already, with the published MD5, is not fetched again.

    Parameters
    ----------
    name : "cifar10" or "cifar100".
    folder : made if it is not there; the environment variable RFMODEL_DATA where None.
    progress : called with ("downloading cifar10", bytes done, bytes in all or None).

    Raises
    ------
    InputError
        If the name is unknown, the network does not allow it, the transfer ends early, the MD5 differs from
        the published one, or the folder cannot be written. Nothing half-written is left behind.
    """
    layout = LAYOUTS[one_of("data set to download", name, LAYOUTS)][0]
    folder = data_folder(name, folder)
    target = folder / layout.archive
    if target.is_file() and md5(target) == layout.md5:
        return target
    aside = folder / f"{layout.archive}.{os.getpid()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with aside.open("wb") as file:
            found = _transfer(name, layout, folder, file, progress or silent)
        if found != layout.md5:
            raise InputError(
                f"{layout.url} was fetched with MD5 {found}, the published archive has {layout.md5}: "
                "trying again, or another network, would do"
            )
        aside.replace(target)
    except OSError as error:
        raise InputError(
            f"{name} cannot be written to {folder} ({error.strerror or error}): a folder with "
            "permission and 200 MB of room would do"
        ) from error
    finally:
        if aside.exists():
            aside.unlink()
    return target


def md5(path: Path) -> str:
    """Return a file's MD5 in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "md5").hexdigest()


def _transfer(name: str, layout: Layout, folder: Path, file: object, progress: Progress) -> str:
    digest, done, total = hashlib.md5(), 0, None
    by_hand = f"{layout.archive} put into {folder} by hand would do"
    try:
        response = urllib.request.urlopen(layout.url, timeout=PATIENCE)
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(error, urllib.error.HTTPError):
            error.close()
        raise InputError(
            f"{name} cannot be fetched from {layout.url} ({reason}): the network does not allow it here, and {by_hand}"
        ) from error
    with response:
        length = response.headers.get("Content-Length")
        total = int(length) if length and length.isdigit() else None
        while chunk := _next_chunk(response, layout, by_hand):
            file.write(chunk)
            digest.update(chunk)
            done += len(chunk)
            progress(f"downloading {name}", done, total)
    if total is not None and done < total:
        raise InputError(
            f"the transfer from {layout.url} ended after {done} of {total} bytes: trying again would do, or {by_hand}"
        )
    return digest.hexdigest()


def _next_chunk(response: http.client.HTTPResponse, layout: Layout, by_hand: str) -> bytes:
    try:
        return response.read(CHUNK)
    except (OSError, http.client.HTTPException) as error:
        raise InputError(
            f"the transfer from {layout.url} broke off ({error}): trying again would do, or {by_hand}"
        ) from error
