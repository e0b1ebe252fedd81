r"""The worst spectrum: where feedback alignment ends furthest from the best approximation of its width.

What is sought are falling singular values between a floor and the largest; the floor bounds the condition, without
which the separation has no maximum but a limit. The median ratio over fixed draws of C (common random numbers) is
raised from several starts.

What has to come out, from the formula of `rfmodel.theory.separation`: the error rises with every one of the top r
values and the optimum does not know them, so that they are all the largest; and it falls less than the tail when the
whole tail is made smaller, so that the tail comes down to its floor. Both hold for each draw of C. Of the tail's shape
the formula's limit says 1 + sum_j w_j |h_j|^2 with weights w_j of sum one: a mean of d - r exchangeable, skewed
numbers, whose median over draws is highest, it is found, if they weigh alike. So the worst is a step after mode r, down
to the floor, and flat on either side: `step_limit` is what it nears as the floor falls. With few draws, or a floor so
low that the search is in that limit, the tail follows the chance of the draws within a per cent of the ratio.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import LinearConstraint, minimize
from scipy.stats import beta

from rfmodel.errors import InputError
from rfmodel.theory.separation import feedback_draws, separation
from rfmodel.theory.settings import SpectrumSettings
from rfmodel.theory.spectra import of_law
from rfmodel.theory.tasks import transposed

DRAWS = 512
FAMILIES = ("flat", "linear", "power", "exponential")


@dataclass(frozen=True)
class Search:
    """The worst spectrum that was found, and the way to it.

    Parameters
    ----------
    values : (d,)
        Falling.
    ratio : float
        Its median separation over the draws.
    way_values : (candidates, d)
        From the best start to the worst spectrum.
    way_ratios : (candidates,)
    starts : dict of str to float
        The ratio that each start led to.
    evaluations : int
        Of the objective and its gradient.
    """

    values: np.ndarray
    ratio: float
    way_values: np.ndarray
    way_ratios: np.ndarray
    starts: dict[str, float]
    evaluations: int


def worst_spectrum(
    modes: int, width: int, largest: float, smallest: float, draws: int = DRAWS, seed: int | list[int] = 0
) -> Search:
    """Search for the spectrum of the largest median separation.

    Parameters
    ----------
    modes : int
        Singular values above nought; more than the width.
    width : int
        Of the factorisation.
    largest, smallest : float
        Between which they lie.
    draws : int
        Of the feedback: the same for every candidate.
    seed : int or list of int
        Of those draws and of the starts that are drawn.

    Returns
    -------
    Search

    Raises
    ------
    InputError
        If there are too few modes, or the floor is not below the largest.
    """
    require_room(modes, width)
    if not smallest < largest:
        raise InputError(f"spectrum.smallest = {smallest:g} leaves no room below spectrum.largest = {largest:g}; a "
                         "smaller one would do")  # fmt: skip
    rng = np.random.default_rng(seed)
    C = feedback_draws(draws, width, modes, rng)
    depth = np.log(largest / smallest)
    ways, evaluations = {}, 0
    for name, gaps in _starts(modes, largest, smallest, rng).items():
        ways[name], count = _climb(gaps, depth, C)
        evaluations += count
    ratios = {name: [_ratio(gaps, C) for gaps in way] for name, way in ways.items()}
    best = max(ways, key=lambda name: max(ratios[name]))
    end = int(np.argmax(ratios[best]))
    way = np.stack([largest * _spectrum(gaps) for gaps in ways[best][: end + 1]])
    led = {name: max(ratios[name]) for name in ways}
    return Search(way[-1], ratios[best][end], way, np.array(ratios[best][: end + 1]), led, evaluations)


def require_room(modes: int, width: int) -> None:
    """Refuse a search where there is nothing to find.

    Raises
    ------
    InputError
        If there are no more modes than the width.
    """
    if modes <= width:
        raise InputError(
            f"the worst spectrum of {modes} modes for width {width}: feedback alignment is exact; use modes = "
            f"{width + 1} or more"
        )


def of_families(modes: int, width: int, largest: float, smallest: float, C: np.ndarray) -> dict[str, np.ndarray]:
    """Return the separation, one ratio a draw, of the laws that a worst spectrum is compared with.

    Parameters
    ----------
    modes, width : int
    largest, smallest : float
    C : (draws, width, modes)

    Returns
    -------
    dict of str to (draws,)
        "flat", "linear", "power", "exponential", and "step(j)" of j values before the step.
    """
    laws = {name: SpectrumSettings(law=name, modes=modes, largest=largest, smallest=smallest) for name in FAMILIES}
    laws |= {
        f"step({head})": SpectrumSettings(law="step", head=head, modes=modes, largest=largest, smallest=smallest)
        for head in range(1, modes)
    }
    return {name: separation(of_law(law), C) for name, law in laws.items()}


def _starts(modes: int, largest: float, smallest: float, rng: np.random.Generator) -> dict[str, np.ndarray]:
    """The gaps between the logarithms of neighbouring values: of the smooth families, and of drawn spectra."""
    laws = [SpectrumSettings(law=name, modes=modes, largest=largest, smallest=smallest) for name in FAMILIES[1:]]
    floor = np.log(smallest / largest)
    starts = {law.law: -np.diff(np.maximum(np.log(of_law(law) / largest), floor)) for law in laws}
    drawn = rng.dirichlet(np.ones(modes), size=2)[:, 1:] * -floor
    return starts | {f"drawn {i}": gaps for i, gaps in enumerate(drawn)}


def _spectrum(gaps: np.ndarray) -> np.ndarray:
    return np.exp(-np.concatenate([[0.0], np.cumsum(gaps)]))


def _ratio(gaps: np.ndarray, C: np.ndarray) -> float:
    return float(np.median(separation(_spectrum(gaps), C)))


def _climb(gaps: np.ndarray, depth: float, C: np.ndarray) -> tuple[list[np.ndarray], int]:
    """Raise the median from one start: the iterates, within the gaps' bounds, and how many evaluations they took."""
    way = [gaps]
    found = minimize(
        lambda gaps: tuple(-part for part in log_median(gaps, C)),
        gaps,
        jac=True,
        method="SLSQP",
        bounds=[(0, depth)] * len(gaps),
        constraints=LinearConstraint(np.ones((1, len(gaps))), 0, depth),
        callback=lambda gaps: way.append(_within(gaps, depth)),
        options={"maxiter": 200, "ftol": 1e-9},
    )
    return [*way, _within(found.x, depth)], found.nfev


def _within(gaps: np.ndarray, depth: float) -> np.ndarray:
    """The optimiser's own rounding leaves its bounds by the last digits."""
    gaps = np.clip(gaps, 0, None)
    return gaps * min(1.0, depth / max(gaps.sum(), np.finfo(float).tiny))


def log_median(gaps: np.ndarray, C: np.ndarray) -> tuple[float, np.ndarray]:
    r"""Return the logarithm of the median separation of a spectrum, smoothed, and its gradient by the gaps.

    With E = S - S Pi and (C S)^T = Q R,

    .. math::
        \tfrac12 \partial \|E\|_F^2 / \partial \ln s_i
        = s_i^2 (1 - \Pi_{ii}) - s_i \left[ C^\top R^{-1} (S Q)^\top E \right]_{ii}

    Parameters
    ----------
    gaps : (d - 1,)
        Between the logarithms of neighbouring values.
    C : (draws, r, d)

    Returns
    -------
    value : float
    gradient : (d - 1,)

    Notes
    -----
    The estimator of the median that weighs all ranks, so that it has a gradient: Harrell & Davis (1982), A new
    distribution-free quantile estimator.
    """
    s, r = _spectrum(gaps), C.shape[1]
    Q, R = np.linalg.qr(transposed(C * s))
    SQ = s[:, None] * Q
    E = np.diag(s) - SQ @ transposed(Q)
    squared = np.square(E).sum((-2, -1))
    inner = transposed(np.linalg.solve(transposed(R), C))  # C^T R^{-1}
    inside = np.square(s) * (1 - np.square(Q).sum(-1)) - s * (inner * transposed(transposed(SQ) @ E)).sum(-1)
    tail = np.square(s[r:]).sum()
    ratios = (np.log(squared) - np.log(tail)) / 2
    slopes = inside / squared[:, None] - np.where(np.arange(len(s)) < r, 0, np.square(s)) / tail
    weights = np.empty(len(C))
    weights[np.argsort(ratios)] = np.diff(beta.cdf(np.linspace(0, 1, len(C) + 1), *[(len(C) + 1) / 2] * 2))
    by_logarithm = weights @ slopes
    return float(weights @ ratios), -np.cumsum(by_logarithm[:0:-1])[::-1]  # a gap lowers all values after it
