"""PEPITA: a second forward pass whose input the error has changed, in place of a backward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import inf, prod, sqrt

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError, one_of
from rfmodel.routing.cuts import teach
from rfmodel.routing.ends import NONLINEAR, after
from rfmodel.routing.feedback import Step, generator_for, uniform
from rfmodel.routing.heads import no_edges, no_map
from rfmodel.routing.ports import Port, Trace
from rfmodel.routing.rules import Rule, register_rule

RANDOM = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
PLACES = ("mean", "sqrt", "sum")


@register_rule("pepita")
def pepita(scale: float = 0.05, law: str = "uniform", error: str = "standard", places: str = "mean") -> Rule:
    r"""Present the error to perturb the input to modulate activity (Dellaferrera & Kreiman 2022).

    .. math:: h_0^{err} = x + F e, \quad
              \Delta W_l = (h_l - h_l^{err}) (h_{l-1}^{err})^T, \quad
              \Delta W_L = e\, (h_{L-1}^{err})^T

    taken off the weights, as a gradient is, where e is the output's error (softmax less label) of the first pass and
    h^{err} the activities of the second. A training step of its own (`TwoPasses`), for whole networks.

    Parameters
    ----------
    scale : float
        F is drawn with the standard deviation scale sqrt(2 / n), n the numbers in an image; 0 is no modulation.
    law : {"uniform", "normal"}
        Of F's entries, around nought.
    error : {"standard", "modulated"}
        Which pass's error the output layer learns by. The second's is taken to be that of softmax and cross-entropy.
    places : {"mean", "sqrt", "sum"}
        What a convolution makes of the correlations at its N places: their mean, their sum over sqrt(N), their sum.

    Notes
    -----
    The passes and updates are the paper's. As in the authors' code are F's law (He's uniform law times 0.05), the mean
    over a convolution's places or their sum over sqrt(N), and that a convolution's h_l is what its nonlinearity gives
    before the pool, while the next layer reads what the pool leaves. That code takes the error "modulated" in dense
    networks and "standard" in those of one dense layer. Neither has biases, and its rule leaves norms alone: here a
    bias learns as a weight from an input that is always 1, and norms, skips and other weights are refused.
    Dropout draws the same masks in both passes, and h_l is taken behind it. F e is per sample, so that neither the
    size of the batch nor the loss's mean over it changes the second pass. Under torch.compile the step runs as it is.
    """
    if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 <= scale < inf:
        raise InputError(f"scale {scale!r} of rule 'pepita' is impossible; use 0 or a positive number")
    one_of("option law of rule 'pepita':", law, ("uniform", "normal"))
    one_of("option error of rule 'pepita':", error, ("standard", "modulated"))
    one_of("option places of rule 'pepita':", places, PLACES)

    def step(record: Trace, seed: int) -> TwoPasses:
        return TwoPasses(record, seed, scale, law, error == "modulated", places)

    return Rule("pepita", no_edges, no_map, step=step)


class TwoPasses(nn.Module):
    """PEPITA's training step; see `pepita`.

    Parameters
    ----------
    record : Trace
    seed : int
        F is drawn from (seed, "pepita").
    scale, law, is_modulated, places
        As there; `is_modulated` is error = "modulated".

    Attributes
    ----------
    F : Tensor, shape (numbers in an image, classes)
        A buffer.
    activities : dict of str to Port
        By layer, where its activity h_l is read; the last layer has none.

    Raises
    ------
    InputError
        If the network is no chain of Linear and Conv2d layers, each followed by a nonlinearity of its own size.
    """

    def __init__(self, record: Trace, seed: int, scale: float, law: str, is_modulated: bool, places: str) -> None:
        super().__init__()
        self.activities = _chain(record)
        self.layers = list(record.weighted)
        self.is_modulated, self.places = is_modulated, places
        shape = (prod(record.example.shape[1:]), record.classes)
        std, generator = scale * sqrt(2 / shape[0]), generator_for(seed, "pepita")
        F = uniform(shape, std, generator) if law == "uniform" else torch.randn(shape, generator=generator) * std
        self.register_buffer("F", F.to(record.example.device))

    @torch.compiler.disable
    def forward(self, network: nn.Module, images: Tensor, step: Step) -> Tensor:
        """Return the network's output, whose backward pass makes the second forward pass."""
        named = dict(network.named_parameters())
        weights = [p for p in named.values() if p.requires_grad]
        second = Second(self, network, step, _Circumstances(images))
        with torch.no_grad(), self._heard(network) as first:
            logits = network(images)
        activities = [first.activities[name] for name in self.activities]
        if not (torch.is_grad_enabled() and weights):
            return logits
        return _Modulate.apply(logits, images.detach(), second, len(activities), *activities, *weights)

    @contextmanager
    def _heard(self, network: nn.Module, with_layers: bool = False) -> Iterator[Heard]:
        """Within this context what the network's layers do is noted."""
        heard, handles = Heard(), []
        for name, port in self.activities.items():
            module = network.get_submodule(port.module)
            handles.append(module.register_forward_hook(lambda _, args, out, n=name: heard.activities.update({n: out})))
        for name in self.layers if with_layers else ():
            handles += _cut_around(network.get_submodule(name), name, heard)
        try:
            yield heard
        finally:
            for handle in handles:
                handle.remove()

    def updates(self, second: Second, images: Tensor, logits: Tensor, delta: Tensor, first: list[Tensor]):
        """Return what each weight that learns is sent in place of its gradient.

        Parameters
        ----------
        second : Second
        images, logits : Tensor
            Of the first pass.
        delta : Tensor, shape (batch, classes)
            Gradient of the loss in the first pass's logits: e, times a sample's share of the loss.
        first : list of Tensor
            Activities of the first pass.
        """
        network, share = second.network, second.step.weight
        e = delta / share
        modulated = images + (e @ self.F.to(e.dtype).mT).reshape(images.shape).to(images.dtype)
        with second.circumstances.as_then(), self._heard(network, with_layers=True) as heard:
            again = network(modulated)
        if self.is_modulated:
            delta = delta + (again.softmax(1) - logits.softmax(1)) * share
        roots, sent = [], []
        for name, h in zip(self.layers, [*first, None], strict=True):
            z = heard.outputs[name]
            change = delta if h is None else (h - heard.activities[name].detach()) * (share * self._over(z))
            roots.append(z)
            sent.append(change.to(z.dtype))
        weights = [p for p in network.parameters() if p.requires_grad]
        return torch.autograd.grad(roots, weights, sent, allow_unused=True)

    def _over(self, z: Tensor) -> float:
        """Return by what the sum over a convolution's places is multiplied."""
        count = z[0, 0].numel() if z.ndim == 4 else 1
        return {"mean": 1 / count, "sqrt": 1 / sqrt(count), "sum": 1.0}[self.places]


@dataclass
class Heard:
    """What a pass did: h_l after each hidden layer, and what each layer made of its input, with that layer's graph."""

    activities: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Second:
    """What the second pass is told of the first."""

    passes: TwoPasses
    network: nn.Module
    step: Step
    circumstances: _Circumstances


class _Modulate(torch.autograd.Function):
    """The identity on the logits; its backward pass makes the second forward pass, and sends each weight its update."""

    @staticmethod
    def forward(ctx, logits, images, second, count, *given):
        ctx.save_for_backward(logits, images, *given[:count])
        ctx.second, ctx.count = second, count
        return logits.view_as(logits)

    @staticmethod
    def backward(ctx, delta):
        logits, images, *first = ctx.saved_tensors
        updates = ctx.second.passes.updates(ctx.second, images, logits, delta, first)
        return None, None, None, None, *(None for _ in first), *updates


class _Circumstances:
    """The random state and the autocast of the moment, so that a later pass draws and rounds as one made now."""

    def __init__(self, like: Tensor) -> None:
        kind = like.device.type
        self.devices = [like.device] if kind == "cuda" else []
        self.drawn = torch.get_rng_state(), [torch.cuda.get_rng_state(device) for device in self.devices]
        can_cast = torch.amp.is_autocast_available(kind)
        self.casting = (kind, torch.get_autocast_dtype(kind), torch.is_autocast_enabled(kind)) if can_cast else None

    @contextmanager
    def as_then(self) -> Iterator[None]:
        """Within this context draws and casts are as they were; gradients are on."""
        with torch.random.fork_rng(devices=self.devices), torch.enable_grad():
            torch.set_rng_state(self.drawn[0])
            for device, state in zip(self.devices, self.drawn[1], strict=True):
                torch.cuda.set_rng_state(state, device)
            if self.casting is None:
                yield
            else:
                with torch.autocast(*self.casting):
                    yield


def _cut_around(layer: nn.Module, name: str, heard: Heard) -> list:
    """Hang hooks on a layer so that what it makes has a graph of the layer's own weights alone."""

    def keep(module: nn.Module, args: tuple, output: Tensor) -> Tensor:
        heard.outputs[name] = output
        return output.detach()

    return [
        layer.register_forward_pre_hook(lambda _, args: (args[0].detach(), *args[1:])),
        layer.register_forward_hook(keep),
    ]


def _chain(record: Trace) -> dict[str, Port]:
    """Return where each hidden layer's activity is read, if the network is a chain."""
    layers = record.weighted
    if len(layers) < 2:
        raise InputError(f"rule 'pepita' needs a hidden layer, and the network has {len(layers)} weighted; use bp")
    for name in layers:
        record.firing(Port(name, "output"))
    own = {id(p) for name in layers for p in record.layer(name).parameters()}
    for name, p in record.network.named_parameters():
        if p.requires_grad and id(p) not in own:
            module = record.layer(name.rpartition(".")[0])
            raise InputError(
                f"rule 'pepita' is defined for Linear and Conv2d layers, and '{name}' ({type(module).__name__}) learns "
                "beside them; use a network without norms (batch_norm = false), or freeze it"
            )
    for name, module in record.network.named_modules():
        if isinstance(module, nn.modules.batchnorm._NormBase):
            raise InputError(f"rule 'pepita' is not defined with '{name}' ({type(module).__name__}); leave it out")
    if len(record.shape(Port("", "output"))) != 1 or record.shape(Port(layers[-1], "output")) != (record.classes,):
        raise InputError(
            f"rule 'pepita' ends in a layer whose output is the network's, one logit a class; found "
            f"{record.shape(Port('', 'output'))} a sample after '{layers[-1]}'"
        )
    activities = {name: _activity(record, name) for name in layers[:-1]}
    for place, (name, port) in enumerate(activities.items(), start=1):
        taught = teach(record, [port]).by
        beside = [layer for layer in layers[:place] if taught.get(layer) != {port}]
        if beside:
            raise InputError(
                f"rule 'pepita' is defined for chains of layers, and beside '{name}' another way leads from "
                f"'{beside[0]}' to the output; use a network without skips, or another rule"
            )
    return activities


def _activity(record: Trace, name: str) -> Port:
    """Return where h_l is read: behind the layer's nonlinearity, and its dropout, before its size changes."""
    shape, found = record.shape(Port(name, "output")), None
    for port in after(record, name):
        module = record.layer(port.module)
        if not isinstance(module, (*NONLINEAR, *RANDOM)) or record.shape(port) != shape:
            break
        if isinstance(module, NONLINEAR) or found is not None:
            found = port
    if found is None:
        raise InputError(
            f"rule 'pepita' compares what the nonlinearity after '{name}' gives in two passes, and no such module of "
            f"its size {shape} follows it; write it as a module (nn.ReLU; nn.Identity for none) before the pool"
        )
    return found
