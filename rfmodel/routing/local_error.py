"""Local error: what a direct edge of SSA delivers to a unit, from the output's error by way of B_U, B_S and B_V."""

from __future__ import annotations

from dataclasses import dataclass
from math import isqrt, prod

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.factors import Factored, penalties
from rfmodel.routing.feedback import Feedback, Step, uniform
from rfmodel.routing.geometry import Geometry
from rfmodel.routing.local_loss import LocalLoss

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Terms:
    """How the terms of a local loss that need the error weigh.

    Parameters
    ----------
    ce, cosine : float
        alpha and beta of eq. 6.
    reduction : {"mean", "sum"}
        Whether a batch's errors are averaged, as a mean loss hands them on, or added up as eq. 7 has them, which makes
        them as many times larger beside the other terms.
    towards : {"error", "descent"}
        The direction that the cosine term turns the activity to: the delivered error (eq. 8 as printed) or its
        opposite, to which descent on the cross-entropy leads.
    epsilon : float
        Length below which a vector's direction counts less and less, in eq. 8; see `penalties.cosine`.
    """

    ce: float = 0.1
    cosine: float = 0.01
    reduction: str = "sum"
    towards: str = "error"
    epsilon: float = 1e-8


class LocalError(Feedback):
    r"""The error of one unit: the signal that stands for the cross-entropy's, and the gradient of the cosine term.

    .. math:: \delta_l = \alpha\, s_l + \beta\, \nabla_{h_l} \Big(1 - \frac{\langle h_l, \pm s_l\rangle}
              {\|h_l\| \|s_l\|}\Big), \qquad s_l = M_l\, e

    h_l is the unit's output where the graph is cut, flattened a sample. Subclasses say what M_l is.

    Notes
    -----
    Roy et al. (SSA), eqs. 6, 7, 8.
    """

    def __init__(self, geometry: Geometry, terms: Terms) -> None:
        super().__init__(geometry)
        self.terms = terms

    def signal(self, e: Tensor, like: Tensor, *given: Tensor) -> Tensor:
        """Return M e, shaped like the target."""
        raise NotImplementedError

    def carry(self, delta: Tensor, like: Tensor, *given: Tensor) -> Tensor:
        return self.terms.ce * self.signal(delta, like, *given)

    def deliver(self, delta: Tensor, like: Tensor, step: Step, *given: Tensor) -> tuple[Tensor, Tensor]:
        signal = self.signal(delta, like, *given)
        batch = step.processes / step.weight if self.terms.reduction == "sum" else 1.0
        sent = (self.terms.ce * batch) * signal
        if self.terms.cosine:
            aim = signal if self.terms.towards == "error" else -signal
            turning = penalties.cosine_gradient(like.detach().to(aim.dtype), aim, self.terms.epsilon)
            sent = sent + (self.terms.cosine * step.weight) * turning
        return sent, delta

    def effective(self) -> Tensor:
        given = self.given()
        classes, like = self.geometry.m, (self.geometry.m, *self.geometry.target)
        one = given[0] if given else self.gain
        eye = torch.eye(classes, dtype=one.dtype, device=one.device)
        return self.carry(eye, one.new_empty(like), *given).flatten(1)

    def rescale(self, factor: Tensor | float) -> None:
        raise InputError(
            "train.calibrate scales feedback maps, and a local loss of ssa weighs its own error by coefficients.ce; "
            "leave train.calibrate at 0"
        )


class Own(LocalError):
    """The output layer's own error: M is the identity."""

    def signal(self, e: Tensor, like: Tensor) -> Tensor:
        return e.reshape(like.shape)


class Broadcast(LocalError):
    """A fixed random M from the classes to every element of the target, as in DFA.

    Parameters
    ----------
    geometry : Dense
    terms : Terms
    std : float
        Of M's entries, drawn uniformly.
    generator : torch.Generator
    """

    def __init__(self, geometry: Geometry, terms: Terms, std: float, generator: torch.Generator) -> None:
        super().__init__(geometry, terms)
        self.B = nn.Parameter(uniform(geometry.own_shape, std, generator), requires_grad=False)

    def signal(self, e: Tensor, like: Tensor, B: Tensor) -> Tensor:
        return self.geometry.adjoint(B.to(e.dtype), e, like)


class Twin(LocalError):
    r"""The error by way of the layer's twin: lifted to what the layer takes in, and taken forward through B.

    .. math:: s_l = B_U B_S B_V^\top R\, e

    B has the form of the layer's matrix, as L_align asks, and so takes the layer's inputs to its outputs: the class
    error is first lifted to such inputs by a fixed random R. For a convolution R e is a map of its input channels with
    the pixels of the target, which the two kernels of B filter at stride 1, padded to that size.

    Parameters
    ----------
    geometry : Dense
        From the classes to the target.
    terms : Terms
    std : float
        Of R's entries, drawn uniformly.
    generator : torch.Generator
    loss : LocalLoss
        Of the unit's layer, which holds B_U, B_S and B_V.

    Raises
    ------
    InputError
        If B is nought, as of a layer whose weights all are.

    Notes
    -----
    Roy et al. (SSA), eq. 8. The paper gives B the shape of W (eq. 9) and has it multiply the class error (eq. 8), which
    no shapes allow but where a layer takes in as many numbers as there are classes; R is what is missing.
    """

    def __init__(
        self, geometry: Geometry, terms: Terms, std: float, generator: torch.Generator, loss: LocalLoss
    ) -> None:
        super().__init__(geometry, terms)
        self._loss = (loss,)
        if not (loss.B_S.is_meta or loss.B_S.any()):
            raise InputError(
                f"the weights of the layer that makes {tuple(geometry.target)} are nought, and a feedback matrix of "
                "their spread would deliver nothing; initialise them"
            )
        self.lifted = lifted_shape(loss.layer, tuple(geometry.target))
        self.R = nn.Parameter(uniform((geometry.m, *self.lifted), std, generator), requires_grad=False)

    @property
    def loss(self) -> LocalLoss:
        return self._loss[0]

    def given(self) -> tuple[Tensor, ...]:
        return (*self.maps, *(B.detach() for B in self.loss.maps))

    def signal(self, e: Tensor, like: Tensor, R: Tensor, *B: Tensor) -> Tensor:
        rows = e.reshape(len(like), -1)
        lifted = (rows @ R.flatten(1).to(e.dtype)).view(len(like), *self.lifted)
        return _through(self.loss.layer, lifted, *(factor.to(e.dtype) for factor in B)).reshape(like.shape)


def lifted_shape(layer: Factored, target: Shape) -> Shape | None:
    """Return what a layer takes in to make something of the target's shape, at stride 1; None where it cannot."""
    if isinstance(layer, nn.Linear):
        return (*target[:-1], layer.in_features) if target[-1] == layer.out_features else None
    if len(target) == 3:
        return (layer.in_channels, *target[1:]) if target[0] == layer.out_channels else None
    pixels, rest = divmod(prod(target), layer.out_channels)  # a map laid out flat: square, as the images are
    side = isqrt(pixels)
    return (layer.in_channels, side, side) if not rest and side and side**2 == pixels else None


def _through(layer: Factored, h: Tensor, U: Tensor, S: Tensor, V: Tensor) -> Tensor:
    """Return what a layer with these factors makes of h at stride 1, of the size of h."""
    if isinstance(layer, nn.Linear):
        return ((h @ V) * S) @ U.mT
    (height, width), r = layer.kernel_size, len(S)
    down = V.mT.reshape(r, layer.in_channels, height, 1)
    across = U.reshape(layer.out_channels, width, r).movedim(2, 1).unsqueeze(2)
    return _same(_same(h, down) * S[:, None, None], across)


def _same(h: Tensor, K: Tensor) -> Tensor:
    """Return a convolution of the size of h; an even kernel's odd row or column of padding is the last, as in torch."""
    height, width = K.shape[-2:]
    if not (height % 2 and width % 2):  # padding = "same" pads there too, and warns of it
        h = nn.functional.pad(h, (0, 1 - width % 2, 0, 1 - height % 2))
    return nn.functional.conv2d(h, K, padding=((height - 1) // 2, (width - 1) // 2))
