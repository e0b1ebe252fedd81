"""What an optimiser does to one parameter: element-wise operations, by its name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from rfmodel.errors import InputError, one_of

STATES = {"sgd": 0, "rmsprop": 1, "adam": 2, "amsgrad": 3, "adamw": 2}
# Options by which an optimiser remembers one more.
REMEMBERED = {
    "sgd": ("momentum",),
    "rmsprop": ("momentum", "centered"),
    "adam": ("amsgrad",),
    "amsgrad": (),
    "adamw": ("amsgrad",),
}
OPERATIONS = {"sgd": 2, "rmsprop": 9, "adam": 13, "amsgrad": 14, "adamw": 13}


def operations(name: str, weight_decay: float = 0.0, options: Mapping[str, object] | None = None) -> int:
    """Return the arithmetic operations on one parameter in one update.

    Additions, multiplications, divisions, square roots and maxima count 1 each; what is done once for a whole tensor
    (corrections of bias, schedules) counts nothing, nor do the first step's special cases.

    - sgd: 2 (times the rate, subtracted); with momentum 4, with Nesterov's 6
    - rmsprop: 9 (4 for the mean square, its root, epsilon, the quotient, the rate, the subtraction); with momentum 11
    - adam: 13 (3 for the mean, 4 for the mean square, 6 for root, correction, epsilon, quotient, rate, subtraction)
    - amsgrad: 14, as adam with a maximum; adamw: 13, as adam
    - weight decay: 2 more where it adds to the gradient, 1 more (a factor on the parameter) for adamw

    Parameters
    ----------
    name : {"sgd", "rmsprop", "adam", "amsgrad", "adamw"}
    weight_decay : float
    options : mapping
        The torch optimiser's own: momentum, nesterov, amsgrad, centered. Others cost nothing.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    one_of("optimiser", name, OPERATIONS)
    given = dict(options or {})
    count = OPERATIONS[name]
    if given.get("amsgrad") and name in ("adam", "adamw"):
        count += 1
    if given.get("momentum") and name in ("sgd", "rmsprop"):
        count += 4 if given.get("nesterov") and name == "sgd" else 2
    if given.get("centered") and name == "rmsprop":
        count += 5  # 3 for the mean of the gradient, its square, the subtraction
    return count + ((1 if name == "adamw" else 2) if weight_decay else 0)


def states(name: str, options: Mapping[str, object] | None = None) -> int:
    """Return how many numbers an optimiser remembers of each parameter.

    sgd none, rmsprop 1 (the mean square), adam and adamw 2 (mean and mean square), amsgrad 3 (and the maximum); one
    more for a momentum of sgd or rmsprop, and for rmsprop's mean where it is centred. A count of steps for a whole
    tensor is left out.

    Parameters
    ----------
    name : {"sgd", "rmsprop", "adam", "amsgrad", "adamw"}
    options : mapping
        The torch optimiser's own: momentum, amsgrad, centered. Others remember nothing.

    Raises
    ------
    InputError
        If the name is unknown.
    """
    one_of("optimiser", name, STATES)
    given = dict(options or {})
    return STATES[name] + sum(bool(given.get(option)) for option in REMEMBERED[name])


def both(optimisers: object, counted: Callable[[str], int] = operations) -> tuple[int, int]:
    """Return the operations, or states, for weights and for feedback maps, from one or two names or counts.

    Raises
    ------
    InputError
        If there are neither one nor two, a name is unknown, or a count is negative.
    """
    given = list(optimisers) if isinstance(optimisers, list | tuple) else [optimisers] * 2
    if len(given) != 2:
        raise InputError(f"{len(given)} optimisers given; give one, or two: the weights' and the feedback maps'")
    counts = [counted(o) if isinstance(o, str) else o for o in given]
    for count in counts:
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise InputError(
                f"optimiser {count!r} is no count of {counted.__name__}; give a name, or a whole number from 0"
            )
    return counts[0], counts[1]
