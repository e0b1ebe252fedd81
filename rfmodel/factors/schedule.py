"""When a layer's rank falls, and to what: SSA's schedule and its alternatives. Knows no torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate
from math import ceil, isfinite

from rfmodel.errors import InputError, one_of

KINDS = ("hybrid", "epochs", "energy", "gradient", "constant")
HOYER = ("every", "reduction", "always", "never")
ROUNDING = 1e-12  # relative: sums of many squares that are equal on paper differ by less


@dataclass(frozen=True)
class RankSchedule:
    r"""The rank of a factored layer over the epochs.

    .. math:: r_k = r_0 \left( 1 - \lfloor k / e \rfloor \, e / K \right) \quad \text{while } r_k \ge \zeta r_0,

    then at each check the smallest r with \sum_{j \le r} \sigma_j^2 \ge \theta \sum_j \sigma_j^2, where that is below
    the present rank. k epochs are done of K; e is `every`, zeta `floor` and theta `energy`.

    Parameters
    ----------
    kind : {"hybrid", "epochs", "energy", "gradient", "constant"}
        Both parts; the first alone, which ends at zeta r_0; the second alone; the second with the gradient's energy by
        direction, E[(dL/dS_j)^2], in place of sigma_j^2; or no change at all.
    every : int or float
        Epochs from one check to the next: a whole number, or a fraction below 1 of all epochs (at least one epoch).
    floor : float
        Share of r_0 at which the first part ends.
    energy : float
        Share of the energy that is kept.
    start : int or float
        Epochs done before which nothing falls, as a whole number or a fraction of all. The first check after them
        takes r_k as it then is: the epochs before count.
    hoyer : {"every", "reduction", "always", "never"}
        The epochs in which the Hoyer penalty acts: each one that ends with a check (2024); all up to the check that
        ends the first part (2025), so none where the kind has no first part.

    Raises
    ------
    InputError
        If the rank could reach zero, or a setting is impossible.

    Notes
    -----
    SSA (2024), section 3.4 and A.3: every = 10, zeta = 0.7, theta = 0.95; ImageNet: start = 20, theta = 0.90. Ranks are
    rounded up, and never rise. There is no check after the last epoch: what it left would not be trained.
    """

    kind: str = "hybrid"
    every: int | float = 10
    floor: float = 0.7
    energy: float = 0.95
    start: int | float = 0
    hoyer: str = "every"

    def __post_init__(self) -> None:
        one_of("kind of rank schedule", self.kind, KINDS)
        one_of("option hoyer of a rank schedule:", self.hoyer, HOYER)
        _check_epochs("every", self.every, least=1)
        _check_epochs("start", self.start, least=0)
        if not _is_share(self.floor):
            raise InputError(
                f"floor {self.floor!r} of a rank schedule would let the rank reach zero or rise; use a share above 0 "
                "and up to 1"
            )
        if not _is_share(self.energy):
            raise InputError(
                f"energy {self.energy!r} of a rank schedule is impossible; use a share above 0 and up to 1"
            )

    def check(self, epochs: int | None, full: int) -> None:
        """Refuse what the schedule cannot be followed with.

        Parameters
        ----------
        epochs : int or None
            All epochs of the training; None if not known.
        full : int
            The rank that a layer starts with.

        Raises
        ------
        InputError
            If epochs are not known and the schedule counts in shares of them, or there is no rank to fall from.
        """
        in_shares = isinstance(self.every, float) or isinstance(self.start, float)
        has_periods = self.kind != "constant" or self.hoyer == "every"
        if epochs is None and (self.kind in ("hybrid", "epochs") or (in_shares and has_periods)):
            raise InputError(
                f"a rank schedule of kind '{self.kind}' counts in shares of all epochs, and how many there are is not "
                "known; give the number of epochs, or kind 'energy' with whole epochs"
            )
        if full < 1:
            raise InputError(f"rank {full!r} leaves a rank schedule nothing to fall from; start from rank 1 or more")

    def is_due(self, done: int, epochs: int | None) -> bool:
        """Whether the rank is checked after `done` epochs."""
        return self.kind != "constant" and self._ends_period(done, epochs)

    def reads(self, done: int, epochs: int | None) -> str | None:
        """Return which energies `rank` wants after `done` epochs: "spectrum", "gradient" or None."""
        if self.kind == "gradient":
            return "gradient"
        is_second = self.kind == "hybrid" and self._share(done, epochs) < self.floor
        return "spectrum" if is_second or self.kind == "energy" else None

    def rank(
        self,
        done: int,
        epochs: int | None,
        full: int,
        current: int,
        spectrum: Iterable[float] | None = None,
        gradient: Iterable[float] | None = None,
    ) -> int:
        """Return the rank after a check.

        Parameters
        ----------
        done, epochs : int
        full : int
            r_0, the rank that the layer started with.
        current : int
        spectrum : iterable of float, optional
            The singular values, in any order.
        gradient : iterable of float, optional
            The gradient's energy by direction, E[(dL/dS_j)^2], in any order.

        Returns
        -------
        int
            From 1 to `current`.

        Raises
        ------
        InputError
            If the energies that `reads` names are not given, or are not finite.
        """
        found = current
        if self.kind in ("hybrid", "epochs"):
            found = min(found, share(max(self._share(done, epochs), self.floor), full))
        reads = self.reads(done, epochs)
        if reads is not None:
            given = spectrum if reads == "spectrum" else gradient
            if given is None:
                raise InputError(f"a rank schedule of kind '{self.kind}' reads the {reads} after epoch {done}; give it")
            energies = [float(x) ** 2 for x in given] if reads == "spectrum" else [float(x) for x in given]
            found = min(found, holding(self.energy, energies))
        return max(1, found)

    def hoyer_acts(self, epoch: int, epochs: int | None) -> bool:
        """Whether the Hoyer penalty acts in an epoch; the first is 1."""
        if self.hoyer == "every":
            return self._ends_period(epoch, epochs)
        if self.hoyer == "reduction":
            has_first = self.kind in ("hybrid", "epochs") and self._share(epoch - 1, epochs) > self.floor
            return has_first and epoch > _whole(self.start, epochs, 0) - _whole(self.every, epochs, 1)
        return self.hoyer == "always"

    def _ends_period(self, done: int, epochs: int | None) -> bool:
        first = max(1, _whole(self.start, epochs, 0))
        return done >= first and done % _whole(self.every, epochs, 1) == 0 and (epochs is None or done < epochs)

    def _share(self, done: int, epochs: int) -> float:
        """r_k / r_0 of the first part."""
        every = _whole(self.every, epochs, 1)
        return round(1 - done // every * every / epochs, 9)  # 1 - 180 / 200 falls short of 0.1 in floating point


def share(fraction: float, full: int) -> int:
    """Return a fraction of a rank, rounded up: at least 1 for any fraction above 0."""
    return ceil(round(fraction * full, 9))  # 0.1 * 30 is 3, though not in floating point


def holding(energy: float, energies: Iterable[float]) -> int:
    """Return how many of the largest energies hold that share of their sum.

    Raises
    ------
    InputError
        If one is not finite.
    """
    falling = sorted(energies, reverse=True)
    if not all(isfinite(x) for x in falling):
        raise InputError("energies of a rank schedule are not finite, so that training has diverged; lower its rate")
    sums = list(accumulate(falling))
    enough = energy * sums[-1] * (1 - ROUNDING)
    return 1 + sum(held < enough for held in sums)


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1


def _check_epochs(option: str, value: object, least: int) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not (value >= least if isinstance(value, int) else 0 < value < 1):
        raise InputError(
            f"{option} {value!r} of a rank schedule is impossible; use whole epochs from {least}, or a fraction of all "
            "epochs between 0 and 1"
        )


def _whole(value: int | float, epochs: int | None, least: int) -> int:
    return value if isinstance(value, int) else max(least, round(value * epochs))
