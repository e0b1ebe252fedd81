"""Rule files: which file of the user's a rule's name means, and what that file holds. Reads, and executes nothing.

A protocol names a rule of the user's own as "my_rules.py:my_rule", a file beside the protocol and a function in it.
What the file holds is part of a run's settings by its hash, so that an edited rule is another run.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from rfmodel.errors import InputError

if TYPE_CHECKING:
    from rfmodel.settings import RuleSettings, Settings

LARGEST = 2**20  # bytes of a rule file
FORM = re.compile(r"(?P<file>[^:\x00-\x1f]+\.py):(?P<function>[^\W\d]\w*)")


@dataclass(frozen=True)
class RuleFile:
    """A user's file as it was read, and the function in it that makes a rule.

    Parameters
    ----------
    file : str
        As named, relative to the protocol's folder.
    function : str
    path : Path
        Where it was read.
    folder : Path
        The protocol's.
    content : bytes
        What is executed is what was hashed, whatever happens to the file meanwhile.
    allowed : bool
        Whether the user has given leave to execute it.
    """

    file: str
    function: str
    path: Path
    folder: Path
    content: bytes = field(repr=False)
    allowed: bool

    @property
    def digest(self) -> str:
        """SHA-256 of the content, 12 hexadecimal digits."""
        return hashlib.sha256(self.content).hexdigest()[:12]


def names_file(name: str) -> bool:
    """Return whether a rule's name means a file of the user's, well written or not."""
    return ":" in name or "/" in name or "\\" in name or name.endswith(".py")


def called(name: str) -> str:
    """Return what a rule is called on axes and in labels: the function of "my_rules.py:my_rule", or the name itself."""
    found = FORM.fullmatch(name)
    return found["function"] if found else name


def parted(name: str) -> tuple[str, str]:
    """Return file and function of "my_rules.py:my_rule", the file in one spelling.

    Raises
    ------
    InputError
        If the name has another form, or the path is absolute or climbs.
    """
    found = FORM.fullmatch(name)
    if not found:
        raise InputError(f"rule {name!r} is not of the form FILE.py:FUNCTION, as in my_rules.py:my_rule")
    path = PurePosixPath(found["file"])
    if path.is_absolute() or ".." in path.parts:
        raise InputError(
            f"rule '{name}' names '{found['file']}', which leaves the protocol's folder; put the file beside the "
            "protocol, and name it from there"
        )
    return str(path), found["function"]


def read_beside(folder: Path, name: str, allowed: bool) -> RuleFile:
    """Read the file that a protocol in `folder` names.

    Raises
    ------
    InputError
        If the name is no file's, or the file is not there, cannot be read, or lies elsewhere.
    """
    file, function = parted(name)
    path = Path(os.path.realpath(folder / file))  # of links in a circle, which Path.resolve raises, some link
    if not path.is_relative_to(folder.resolve()):
        raise InputError(f"rule '{name}' names '{file}', which leads out of the protocol's folder; put a copy there")
    try:
        content = content_of(path)
    except OSError as error:
        raise InputError(
            f"rule '{name}': '{file}' cannot be read ({error.strerror}); it is looked for beside the protocol, in "
            f"'{folder}'"
        ) from None
    return RuleFile(file, function, path, folder.resolve(), content, allowed)


def content_of(path: Path) -> bytes:
    """Return what a rule file holds.

    Raises
    ------
    OSError
        If it cannot be read, is no plain file, or is larger than any rule is.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no file, but a folder, pipe or device")
    if found.st_size > LARGEST:
        raise OSError(errno.EFBIG, f"it has {found.st_size} bytes, more than {LARGEST}")
    return path.read_bytes()


def attach(settings: Settings, read: Callable[[RuleSettings], RuleFile]) -> Settings:
    """Return settings whose rules hold the files that they name, and the files' hashes.

    Parameters
    ----------
    settings : Settings
    read : callable of a rule's settings

    Raises
    ------
    InputError
        If a file cannot be read, or its hash is not the one that the settings ask for; the message names the site.
    """
    rules = dict(settings.rules)
    for site, rule in settings.rules.items():
        if names_file(rule.name):
            try:
                rules[site] = _attached(rule, read(rule))
            except InputError as error:
                raise InputError(f'rules."{site}": {error}') from None
    return settings.model_copy(update={"rules": rules})


def _attached(rule: RuleSettings, code: RuleFile) -> RuleSettings:
    if rule.sha256 not in (None, code.digest):
        raise InputError(
            f"'{code.file}' was edited: its sha256 is {code.digest}, and {rule.sha256} is asked for; put the file "
            "back, or leave sha256 out to train by it as it is"
        )
    return rule.model_copy(update={"name": f"{code.file}:{code.function}", "sha256": code.digest, "code": code})


def files_of(rules: Mapping[str, RuleSettings]) -> dict[str, RuleFile]:
    """Return the files that rules name, by their names."""
    return {rule.code.file: rule.code for rule in rules.values() if rule.code is not None}
