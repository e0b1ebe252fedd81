r"""The Johnson-Lindenstrauss argument in numbers: what a random projection keeps, beside what is learned through it.

The argument (Hanut & Kadmon, section 3.1): for r > d log m the projected errors keep their pairwise structure, so
learning should find its way. Pairwise structure is one thing and what rests is another: the stationary overlaps of
fixed feedback are the diagonal of the projector on the rows of P S. They are all 1 if r is the rank of the task or
more, whatever the distortion, and short of 1 if the task has more modes than r, however small the distortion.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import xarray as xr
from scipy.optimize import brentq

from rfmodel.errors import InputError
from rfmodel.theory.dependence import drawn_overlap, random_feedback

ERRORS = 72  # of the streams that the inputs are drawn from
SHARE = 0.9  # of the energy, that the leading d modes of a spectrum without an end hold


@dataclass(frozen=True)
class Distortion:
    """How far a projection moves the pairs of some vectors: the largest and the median over pairs.

    Parameters
    ----------
    largest, median : (...)
        Of | ||P (x - y)||^2 / (g ||x - y||^2) - 1 |, with g the projection's mean gain.
    cosine_largest, cosine_median : (...)
        Of | cos(P x, P y) - cos(x, y) |.
    """

    largest: np.ndarray
    median: np.ndarray
    cosine_largest: np.ndarray
    cosine_median: np.ndarray


def distortion(P: np.ndarray, vectors: np.ndarray) -> Distortion:
    r"""Return how far P moves the pairwise distances and cosines of vectors.

    The gain g = ||P||_F^2 / m, the mean of ||P u||^2 over directions u, is common to all pairs and taken out.

    Parameters
    ----------
    P : (..., r, m)
    vectors : (..., m, count)
        Errors, such as those of samples or the columns of E. Pairs that coincide have no relative distance and are
        left out of both, and those with a vector that is 0, or that P takes to 0, have no cosine.

    Returns
    -------
    Distortion
        (...); NaN where no pair is left.

    Raises
    ------
    InputError
        If there are fewer than two vectors.

    Notes
    -----
    Johnson & Lindenstrauss (1984); distances squared, as in Dasgupta & Gupta (2003).
    """
    if vectors.shape[-1] < 2:
        raise InputError(f"{vectors.shape[-1]} vectors have no pairs; two or more would do")
    one, other = np.triu_indices(vectors.shape[-1], 1)
    gain = (P**2).sum((-2, -1))[..., None] / P.shape[-1]
    between = vectors[..., one] - vectors[..., other]
    apart, left = (between**2).sum(-2), ((P @ between) ** 2).sum(-2)
    turned = np.abs(_cosines(P @ vectors) - _cosines(vectors))[..., one, other]
    with np.errstate(invalid="ignore", divide="ignore"):  # those left out
        relative = np.where(apart > 0, np.abs(left / (gain * apart) - 1), np.nan)
    turned = np.where(apart > 0, turned, np.nan)
    return Distortion(*_largest_and_median(relative), *_largest_and_median(turned))


def sufficient_rank(points: int, distortion: float) -> int:
    r"""Return the rank from which on some projection keeps the distances of any points to within a distortion.

    .. math:: r \ge \frac{4 \ln N}{\epsilon^2 / 2 - \epsilon^3 / 3}

    Raises
    ------
    InputError
        If the distortion is not between 0 and 1.

    Notes
    -----
    Dasgupta & Gupta (2003), theorem 2.1.
    """
    if not 0 < distortion < 1:
        raise InputError(f"distortion = {distortion:g} is outside the lemma; use one between 0 and 1")
    return int(np.ceil(4 * np.log(points) / (distortion**2 / 2 - distortion**3 / 3)))


def promised_distortion(points: int, rank: int) -> float:
    """Return the distortion that the lemma promises N points at a rank; NaN where that is none below 1."""
    asked = 4 * np.log(points) / rank
    if asked >= 1 / 6:  # eps^2 / 2 - eps^3 / 3 at eps = 1
        return np.nan
    return float(brentq(lambda eps: eps**2 / 2 - eps**3 / 3 - asked, 0.0, 1.0))


def effective_modes(s: np.ndarray, share: float = SHARE) -> int:
    """Return how many of the falling singular values (modes,) hold that share of the sum of their squares."""
    held = np.cumsum(np.asarray(s, float) ** 2)
    return int(np.searchsorted(held, share * held[-1] * (1 - 1e-12)) + 1)


def argued_ranks(dimension: int, outputs: int) -> list[int]:
    """Return the ranks at which the argument is looked at: d / 2, d, 2 d and d log m, none above m, rising."""
    ranks = (-(-dimension // 2), dimension, 2 * dimension, int(np.ceil(dimension * np.log(outputs))))
    return sorted({min(rank, outputs) for rank in ranks})


def argument(
    s: np.ndarray, outputs: int, ranks: list[int], seeds: int = 20, vectors: int = 64, dimension: int | None = None
) -> xr.Dataset:
    """Return the distortion of errors by random feedback beside the stationary overlaps that it leads to.

    Parameters
    ----------
    s : (modes,)
        Singular values above 0, falling.
    outputs : int
        m.
    ranks : list of int
        Of feedback that is nested: the first r rows of one matrix a seed.
    seeds : int
    vectors : int
        Errors delta = S x of as many samples, x standard normal: those at the beginning of learning.
    dimension : int, optional
        d, the modes that the argument is about; those that hold 90 % of the energy unless given.

    Returns
    -------
    xr.Dataset
        Dims rank (a coordinate), seed, mode (1..d): distortion_largest, distortion_median, cosine_largest,
        cosine_median (rank, seed); overlap (rank, seed, mode), of the leading d modes; promised (rank), by the lemma,
        NaN where it promises nothing. Attributes: dimension, outputs, modes, paper_rank (d log m, not rounded).

    Raises
    ------
    InputError
        If a rank is above m, there are more modes than outputs, or d is above the modes.

    Notes
    -----
    Hanut & Kadmon, section 3.1; Johnson & Lindenstrauss (1984), Extensions of Lipschitz mappings into a Hilbert space.
    """
    d = effective_modes(s) if dimension is None else dimension
    if not (d <= len(s) <= outputs and max(ranks) <= outputs):
        raise InputError(f"{d} leading of {len(s)} modes at rank {max(ranks)}: {outputs} outputs have {outputs} modes "
                         f"and ranks at most, and the modes lead at most {len(s)}")  # fmt: skip
    overlap = drawn_overlap(s, ranks, seeds, outputs)[..., :d]
    E, P = _errors(s, outputs, seeds, vectors), random_feedback(outputs, max(ranks), seeds)
    found = [distortion(P[:, :rank], E) for rank in ranks]
    names = {"distortion_largest": "largest", "distortion_median": "median"}
    names |= {name: name for name in ("cosine_largest", "cosine_median")}
    values = {name: (("rank", "seed"), np.stack([getattr(one, of) for one in found])) for name, of in names.items()}
    return xr.Dataset(
        values
        | {
            "overlap": (("rank", "seed", "mode"), np.moveaxis(overlap, 0, 1)),
            "promised": ("rank", np.array([promised_distortion(vectors, rank) for rank in ranks])),
        },
        coords={"rank": list(ranks), "seed": np.arange(seeds), "mode": np.arange(1, d + 1)},
        attrs={"dimension": d, "outputs": outputs, "modes": len(s), "paper_rank": float(d * np.log(outputs))},
    )


def by_number(found: xr.Dataset) -> list[dict[str, float]]:
    """Return the rows of a table of `argument`: for each rank, medians over seeds.

    Parameters
    ----------
    found : xr.Dataset
        As `argument` returns it.

    Returns
    -------
    list of dict
        rank; ratio, to d log m; promised; distortion_median, distortion_largest, cosine_median, cosine_largest;
        overlap_first, overlap_mean, overlap_smallest of the leading d modes; short, how many of those are not above .9,
        in the mean over seeds.
    """
    overlap, middle = found["overlap"], found.median("seed")
    columns = {name: middle[name] for name in middle if name.startswith(("distortion_", "cosine_"))}
    columns |= {
        "ratio": found["rank"] / found.attrs["paper_rank"],
        "promised": found["promised"],
        "overlap_first": overlap.isel(mode=0).median("seed"),
        "overlap_mean": overlap.mean("mode").median("seed"),
        "overlap_smallest": overlap.min("mode").median("seed"),
        "short": (overlap <= 0.9).sum("mode").mean("seed"),
    }
    return [
        {"rank": int(rank)} | {name: float(column[i]) for name, column in columns.items()}
        for i, rank in enumerate(found["rank"].values)
    ]


def _errors(s: np.ndarray, outputs: int, seeds: int, vectors: int) -> np.ndarray:
    E = np.zeros((seeds, outputs, vectors))
    for seed in range(seeds):
        E[seed, : len(s)] = s[:, None] * np.random.default_rng([seed, ERRORS]).normal(size=(len(s), vectors))
    return E


def _cosines(vectors: np.ndarray) -> np.ndarray:
    size = np.sqrt((vectors**2).sum(-2, keepdims=True))
    with np.errstate(invalid="ignore", divide="ignore"):  # of a vector that is 0 there is none
        along = np.where(size > 0, vectors / size, np.nan)
    return along.swapaxes(-1, -2) @ along


def _largest_and_median(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-NaN", RuntimeWarning)  # no pair is left: NaN is meant
        return np.nanmax(values, -1), np.nanmedian(values, -1)
