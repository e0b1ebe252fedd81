"""PredSim: each unit learns to predict the label and to match the labels' similarities (Nøkland & Eidnes 2019)."""

from __future__ import annotations

from math import ceil

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError, one_of
from rfmodel.routing.ends import ends
from rfmodel.routing.heads import HeadPlan, no_edges, no_map
from rfmodel.routing.options import whole
from rfmodel.routing.ports import Port, Trace
from rfmodel.routing.rules import Rule, register_rule
from rfmodel.routing.topologies import Sites

LOSSES = ("predsim", "pred", "sim")
EPSILON = 1e-8  # beside the norms of the authors' code


@register_rule("predsim")
def predsim(
    loss: str = "predsim", beta: float = 0.99, features: int = 4096, deviation: bool = True, units: str = "block"
) -> Rule:
    r"""Local prediction and similarity matching, at the end of each unit (Nøkland & Eidnes 2019).

    .. math:: L = (1 - \beta) L_{pred} + \beta L_{sim}, \quad
              L_{pred} = CE(y, W h), \quad
              L_{sim} = \frac{1}{N^2} \|S(F(h)) - S(y)\|^2

    S holds the cosines between the N samples' features, each sample's mean taken off; F is a trainable layer without
    bias: a 3 x 3 convolution that keeps channels and size, or a square matrix for a vector. Of each channel of F(h) the
    standard deviation over places is compared. W starts at zero and reads the mean of h over patches.

    Parameters
    ----------
    loss : {"predsim", "pred", "sim"}
        Both terms, or one alone and then in full.
    beta : float
        Weight of the similarity, 0 to 1.
    features : int
        W reads at most so many numbers of a map: patches double in height and width by turns until it does. A map of
        more channels is read as one patch a channel. Patches that do not divide a map overhang it with zeros, equally
        on both sides (by the authors' padding some sizes lose a border; it is the same for powers of two).
    deviation : bool
        Whether maps of more than 3 channels and more than one row are compared by their standard deviations over
        places (unbiased), or entry by entry.
    units : {"block", "layer"}
        What learns by one loss: a layer, or a residual block with backpropagation inside; "layer": each layer in blocks
        too.

    Notes
    -----
    The two losses and their sum are the paper's. Of the authors' code are beta = 0.99, 4096 features (2048 in its runs
    of VGGs on CIFAR-10), F without bias, W = 0 at first, the patches, the 1e-8 beside the norms, and which maps are
    compared by deviations. Units there are a layer, batch norm and nonlinearity, in residual networks too; Ma et al.
    (2024), whose numbers for ResNets are cited, take blocks. A loss reads h before dropout and pooling there and here.
    The loss of similarities compares the samples of a batch: it depends on how a batch is split. A sample whose
    features are all alike has no direction: its cosines are 0, and so is what it learns by them (there it is not
    defined). The authors' `bio` variants and unsupervised terms are left out.
    """
    one_of("option loss of rule 'predsim':", loss, LOSSES)
    if isinstance(beta, bool) or not isinstance(beta, int | float) or not 0 <= beta <= 1:
        raise InputError(f"beta {beta!r} of rule 'predsim' is impossible; use 0 to 1")
    whole("predsim", "features", features, 1)
    if not isinstance(deviation, bool):
        raise InputError(f"deviation {deviation!r} of rule 'predsim' is no choice; use true or false")
    one_of("option units of rule 'predsim':", units, ("block", "layer"))

    def cuts(record: Trace, sites: Sites) -> list[Port]:
        return ends(record, sites, inside=units == "layer")

    weights = {"predsim": (1 - beta, beta), "pred": (1, 0), "sim": (0, 1)}[loss]
    return Rule("predsim", no_edges, no_map, cuts=cuts, head=lambda plan: PredSim(plan, *weights, features, deviation))


class PredSim(nn.Module):
    """The local loss of one unit; see `predsim`.

    Parameters
    ----------
    plan : HeadPlan
    pred, sim : float
        Weights of the two terms; what belongs to a term of weight 0 is not made.
    features : int
    deviation : bool
    """

    def __init__(self, plan: HeadPlan, pred: float, sim: float, features: int, deviation: bool) -> None:
        super().__init__()
        self.pred, self.sim, self.deviation = pred, sim, deviation
        if len(plan.shape) not in (1, 3):
            raise InputError(
                f"rule 'predsim' reads vectors and maps (channels, height, width), and '{plan.port}' carries "
                f"{plan.shape} a sample; use it on sites that carry those"
            )
        self.pool, read = patches(plan.shape, features)
        if sim:
            n = plan.shape[0]
            is_map = len(plan.shape) == 3
            self.F = nn.Conv2d(n, n, 3, padding=1, bias=False) if is_map else nn.Linear(n, n, bias=False)
        if pred:
            self.W = nn.Linear(read, plan.classes)
            nn.init.zeros_(self.W.weight)

    def forward(self, h: Tensor, y: Tensor) -> Tensor:
        """Return the loss (), a mean over the batch; h (batch, ...), y one-hot (batch, classes)."""
        total = h.new_zeros(())
        if self.pred:
            logits = self.W(self.pool(h).flatten(1))
            total = total + self.pred * nn.functional.cross_entropy(logits, y.to(logits.dtype))
        if self.sim:
            found = similarities(self.F(h), self.deviation)
            total = total + self.sim * nn.functional.mse_loss(found, similarities(y.to(found.dtype)))
        return total


def similarities(x: Tensor, deviation: bool = True) -> Tensor:
    r"""Return the cosines between samples, each sample's mean taken off.

    .. math:: S_{ij} = \frac{\langle x_i - \bar x_i, x_j - \bar x_j \rangle}
                            {\|x_i - \bar x_i\| \|x_j - \bar x_j\|}

    Parameters
    ----------
    x : Tensor, shape (batch, features) or (batch, channels, height, width)
    deviation : bool
        See `predsim`.

    Returns
    -------
    Tensor, shape (batch, batch)
    """
    if deviation and x.ndim == 4 and x.shape[1] > 3 and x.shape[2] > 1:
        x = x.flatten(2).std(2)
    x = x.flatten(1)
    centred = x - x.mean(1, keepdim=True)
    norms = torch.linalg.vector_norm(centred, dim=1, keepdim=True)
    # A sample without direction would be sent a gradient of the size of 1 / EPSILON.
    directions = centred * (norms > 0) / (norms + EPSILON)
    return (directions @ directions.mT).clamp(-1, 1)


def patches(shape: tuple[int, ...], features: int) -> tuple[nn.Module, int]:
    """Return the averages over patches that bring a map to so many features if patches can, and how many it has then.

    Parameters
    ----------
    shape : tuple of int
        Of an activity, without the batch.
    features : int
    """
    if len(shape) != 3:
        return nn.Identity(), shape[0]
    channels, *sides = shape
    kernel, turn = [1, 1], 0

    def size() -> int:
        return channels * ceil(sides[0] / kernel[0]) * ceil(sides[1] / kernel[1])

    while size() > features and kernel[turn] < sides[turn]:
        kernel[turn] *= 2
        turn = 1 - turn
    padding = [ceil((k * ceil(s / k) - s) / 2) for k, s in zip(kernel, sides, strict=True)]
    pool = nn.AvgPool2d(tuple(kernel), padding=tuple(padding)) if kernel != [1, 1] else nn.Identity()
    return pool, size()
