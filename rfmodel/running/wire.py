"""Wire: a run as plain JSON, for another process or another machine. Knows no torch, and executes nothing."""

from __future__ import annotations

import base64
import binascii
import json
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator

from rfmodel.errors import InputError
from rfmodel.rule_files import RuleFile, attach, files_of, parted
from rfmodel.runs import Run
from rfmodel.settings import RuleSettings, Settings


class Code(BaseModel):
    """A user's rule file on the wire: its content in base64, and whether the user has given leave to execute it."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    content: str
    allowed: bool

    @field_validator("content")
    @classmethod
    def _base64(cls, value: str) -> str:
        try:
            base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{error}; base64 would do") from None
        return value


class Packed(BaseModel):
    """A run on the wire; its identity travels along, so that settings which are read otherwise here are seen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    identity: str
    condition: str
    settings: Settings
    axes: dict[str, Any]
    position: int
    preset: str
    files: dict[str, Code]


def packed(run: Run) -> dict[str, Any]:
    """Return a run as plain JSON.

    Parameters
    ----------
    run : Run
        The user's rule files travel with it; of where they lay, their names alone.
    """
    return {
        "identity": run.identity,
        "condition": run.condition,
        "settings": run.settings.model_dump(mode="json"),
        "axes": dict(run.axes),
        "position": run.position,
        "preset": run.preset,
        "files": {
            file: {"content": base64.b64encode(code.content).decode("ascii"), "allowed": code.allowed}
            for file, code in files_of(run.settings.rules).items()
        },
    }


def unpacked(wire: object) -> Run:
    """Return the run that `packed` made plain.

    Raises
    ------
    InputError
        If it is none, a file is not the one that its settings ask for, or the settings have another identity here.
    """
    try:
        read = Packed.model_validate_json(json.dumps(wire), strict=True)
        settings = attach(read.settings, lambda rule: _file(rule, read.files))
    except ValidationError as error:
        first = error.errors()[0]
        raise _refused(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from None
    except (TypeError, ValueError, RecursionError) as error:
        raise _refused(str(error)) from None
    run = Run(read.condition, settings, read.axes, read.position, read.preset)
    if run.identity != read.identity:
        raise _refused(f"its identity is {run.identity} here, and {read.identity} where it was sent")
    return run


def _file(rule: RuleSettings, files: dict[str, Code]) -> RuleFile:
    file, function = parted(rule.name)
    if file not in files:
        raise InputError(f"rule '{rule.name}' came without its file")
    code = files[file]
    return RuleFile(file, function, Path(file), Path(), base64.b64decode(code.content), code.allowed)


def _refused(reason: str) -> InputError:
    told = " ".join(reason.split())[:300]
    return InputError(f"a run that was handed over cannot be read: {told}; use one version of rfmodel on both sides")
