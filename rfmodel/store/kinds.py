"""Kinds of studies: of trained networks, or of a solvable model; one folder holds one kind. Light: reads no results."""

from __future__ import annotations

import os
import re
from pathlib import Path

from rfmodel import bounded_toml
from rfmodel.errors import InputError
from rfmodel.store.wording import one_line

THEORY = "theory"  # the folder of a study in which a solvable model's conditions are kept
NAME = re.compile(r"[a-z0-9-]{0,60}_[0-9a-f]{12}")


def checked_theory(name: object) -> str:
    """Return the name of a condition's file, which becomes part of a path, if it has the form of one.

    Raises
    ------
    InputError
        If it has not: a file that says otherwise may mean a place outside of the study.
    """
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise InputError(f"{str(name)[:100]!r} is no condition's name; condition_hash, as `rfmodel ls` shows, would do")
    return name


def theory_path(folder: Path, name: str) -> Path:
    """Return where the results of a solvable model's condition are kept."""
    return folder / THEORY / f"{name}.nc"


def is_theory(folder: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a study of a solvable model, begun or finished."""
    return _holds(Path(folder) / THEORY)


def _holds(place: Path) -> bool:
    """Whether a folder holds results or a plan: a folder of the user's may bear the same name."""
    return any(not path.name.startswith(".") for form in ("*.nc", "plan-*.json") for path in place.glob(form))


def refuse_other(folder: str | os.PathLike[str], theory: str = "") -> None:
    """Refuse a folder that holds a study of another kind.

    Parameters
    ----------
    folder : path
    theory : str
        The solvable model that is to be kept there; "" for trained networks.

    Raises
    ------
    InputError
        Says which kind it holds.
    """
    folder = Path(folder)
    wanted = f"one of '{theory}'" if theory else "one of networks"
    if theory and _holds(folder / "runs"):
        found = "a study of networks"
    elif is_theory(folder) and (not theory or _model(folder) not in ("", theory)):
        found = f"a study of '{_model(folder)}'" if _model(folder) else "a study of a solvable model"
    else:
        return
    raise InputError(f"'{one_line(folder, 4096)}' holds {found}, not {wanted}; give another --out")


def _model(folder: Path) -> str:
    """Return which solvable model a study's protocol names; "" where it is not kept, or names none."""
    from rfmodel.store.plans import protocol_text

    try:
        return one_line(bounded_toml.parsed(protocol_text(folder)).get("theory", ""), 60)
    except ValueError:
        return ""


def refuse_theory(folder: str | os.PathLike[str]) -> None:
    """Refuse a study of a solvable model where trained networks are asked for.

    Raises
    ------
    InputError
        Says what would do.
    """
    if is_theory(folder) and not _holds(Path(folder) / "runs"):
        where = one_line(folder, 4096)
        raise InputError(
            f"'{where}' is a study of a solvable model, and holds no trained networks; `rfmodel report {where}` or "
            "rfmodel.open_theory would do"
        )
