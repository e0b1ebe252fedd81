"""AugLocal: each unit learns through a small copy of what comes after it in the network (Ma et al. 2024)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from rfmodel.errors import InputError, one_of
from rfmodel.routing.auxiliary import auxiliary, fresh
from rfmodel.routing.ends import ends
from rfmodel.routing.heads import HeadPlan, no_edges, no_map
from rfmodel.routing.options import whole
from rfmodel.routing.ports import Port, Trace
from rfmodel.routing.rules import Rule, register_rule
from rfmodel.routing.topologies import Sites


@register_rule("auglocal")
def auglocal(depth: int = 3, taper: float = 0.5, least: int = 1, initialisation: str = "he") -> Rule:
    r"""Augmented local learning: auxiliary networks built from later units (Ma, Wu, Si & Tan 2024).

    .. math:: d_l = \max(d_{min}, \mathrm{round}((1 - r_l) d + r_l d_{min})), \quad
              r_l = \tau \frac{l - 1}{L - 2}, \quad
              j_k = \mathrm{round}(l + \tfrac{L - l}{d_l} k), \; k = 1 \dots d_l

    Of the L hidden units, unit l = 1 ... L - 1 gets an auxiliary network of its own: fresh units of the forms of units
    j_1 ... j_{d_l}, spread evenly over the later ones up to the last, an average over places and a linear classifier,
    trained by cross-entropy. The last hidden unit and the network's own classifier learn from the loss itself.

    Parameters
    ----------
    depth : int
        d, units in the first auxiliary network; where fewer come after, all of these.
    taper : float
        tau, 0 to 1: how far the depth has fallen towards the least at unit L - 1.
    least : int
        d_min.
    initialisation : {"he", "default"}
        Of convolutions: normal with variance 2 / (fan out) and biases of zero, or torch's own. Dense layers start from
        torch's own law, norms as identities.

    Notes
    -----
    The construction is the paper's, section 3; the rounding, tau = 0.5, d_min = 1 and the law of the weights are those
    of the authors' code, whose scripts use depths 1, 3 and 5 for CIFAR-10. A fresh unit takes the channels that it is
    given; where a downsampling unit was left out, the next fresh one halves the image in its place, at most once each,
    as there: a residual block by its stride, with a 1 x 1 convolution and batch norm for a shortcut wherever its shape
    changes, any other by the pool that was left out, or its stride. The paper treats networks of convolutions: here a
    dense hidden layer is a unit as well, which reads a map averaged to the size that it has in the network. A batch
    norm that the authors' code sets before the classifier of depth 1 alone is left out.
    """
    whole("auglocal", "depth", depth, 1)
    whole("auglocal", "least", least, 1)
    if least > depth:
        raise InputError(f"least {least} of rule 'auglocal' is more than its depth {depth}; use 1 to {depth}")
    if isinstance(taper, bool) or not isinstance(taper, int | float) or not 0 <= taper <= 1:
        raise InputError(f"taper {taper!r} of rule 'auglocal' is impossible; use 0 to 1")
    one_of("option initialisation of rule 'auglocal':", initialisation, ("he", "default"))

    def head(plan: HeadPlan) -> AugLocal | None:
        if plan.place == len(plan.ends) - 1:
            return None
        chosen = later(plan.place, len(plan.ends), depths(len(plan.ends), depth, taper, least)[plan.place])
        return AugLocal(plan, chosen, initialisation)

    return Rule("auglocal", no_edges, no_map, cuts=_all_ends, head=head)


def _all_ends(record: Trace, sites: Sites) -> list[Port]:
    if sites.pattern != "*":
        raise InputError(
            f"rule 'auglocal' builds on all later units of a network, and '{sites.pattern}' names some; lay it over '*'"
        )
    found = ends(record, sites)
    if len(found) < 2:
        raise InputError(
            f"rule 'auglocal' leaves the last hidden unit to the loss itself, and the network has {len(found)} hidden; "
            "use a deeper network, or bp"
        )
    return found


def depths(units: int, depth: int, taper: float, least: int = 1) -> list[int]:
    """Return the depth of the auxiliary network of each hidden unit but the last; see `auglocal`.

    Parameters
    ----------
    units : int
        Hidden units L.
    """
    fall = [taper * l / max(1, units - 2) for l in range(units - 1)]
    return [max(least, round((1 - r) * depth + r * least)) for r in fall]


def later(place: int, units: int, depth: int) -> list[int]:
    """Return which units, counted from 0, the auxiliary network of unit `place` is built from; see `auglocal`."""
    left = units - 1 - place
    if depth >= left:
        return list(range(place + 1, units))
    return [round(place + left / depth * k) for k in range(1, depth + 1)]


class AugLocal(nn.Module):
    """The auxiliary network of one unit and its cross-entropy; see `auglocal`.

    Parameters
    ----------
    plan : HeadPlan
    chosen : sequence of int
        Places of the units in whose forms it is built.
    initialisation : {"he", "default"}
    """

    def __init__(self, plan: HeadPlan, chosen: Sequence[int], initialisation: str) -> None:
        super().__init__()
        self.network = auxiliary(plan, chosen)
        fresh(self.network, initialisation)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        """Return the cross-entropy (), a mean over the batch; h (batch, ...), y one-hot (batch, classes)."""
        logits = self.network(h)
        return nn.functional.cross_entropy(logits, y.to(logits.dtype))
