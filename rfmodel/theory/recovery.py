"""Recovery: which modes of a task have been learned, and when."""

from __future__ import annotations

import numpy as np

from rfmodel.errors import InputError

LEVEL = 0.9  # of the overlap, from which on a mode is recovered


def recovery_time(time: np.ndarray, overlap: np.ndarray, level: float = LEVEL) -> np.ndarray:
    r"""Return when each mode's overlap first reaches a level, on straight lines between the points.

    .. math:: t^* = t_j + (t_{j+1} - t_j) \frac{\lambda - \Lambda_j}{\Lambda_{j+1} - \Lambda_j}, \qquad
        \Lambda_j < \lambda \le \Lambda_{j+1}

    Parameters
    ----------
    time : (points,)
        Rising.
    overlap : (..., points, modes)
    level : float

    Returns
    -------
    (..., modes)
        The first time for a mode that is there from the start, NaN for one that never is. A mode that comes, goes and
        comes again counts from the first time: `recovered` says what it was in the end. Neither end of a line may be
        NaN; a crossing beside one is not seen.

    Raises
    ------
    InputError
        If the times are not as many as the points, or fewer than two.
    """
    if overlap.shape[-2] != len(time) or len(time) < 2:
        raise InputError(f"{len(time)} times for {overlap.shape[-2]} points of the overlap; one each, two at least, "
                         "would do")  # fmt: skip
    crosses = (overlap[..., :-1, :] < level) & (overlap[..., 1:, :] >= level)
    found, place = crosses.any(-2), crosses.argmax(-2)
    low, high = (np.take_along_axis(overlap, at[..., None, :], -2)[..., 0, :] for at in (place, place + 1))
    share = np.where(found, level - low, np.nan) / np.where(found, high - low, 1.0)
    crossing = time[place] + (time[place + 1] - time[place]) * share
    return np.where(overlap[..., 0, :] >= level, time[0], crossing)


def recovered_modes(overlap: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Return which modes are recovered: whose overlap (..., modes), at one time, is above the level. NaN is not."""
    return overlap > level


def recovered(overlap: np.ndarray, level: float = LEVEL) -> np.ndarray:
    """Return how many modes are recovered: (...) of overlaps (..., modes) at one time."""
    return recovered_modes(overlap, level).sum(-1)


def leading_and_rest(overlap: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the smallest overlap of the leading `rank` modes and the largest, up or down, of the rest.

    Parameters
    ----------
    overlap : (..., modes)
        At one time, in the order of falling singular values.
    rank : int

    Returns
    -------
    leading, rest : (...)
        The rest by its absolute value: a mode learned upside down is not unlearned. NaN if there is no rest, or any
        of them is NaN.

    Raises
    ------
    InputError
        If the rank is below 1.
    """
    if rank < 1:
        raise InputError(f"rank = {rank} leads no mode; 1 or more would do")
    rest = overlap[..., rank:]
    most = np.abs(rest).max(-1) if rest.shape[-1] else np.full(overlap.shape[:-1], np.nan)
    return overlap[..., :rank].min(-1), most
