"""Optimisers that do not waste the step, and their schedules as plain functions of the step.

A plain RMSprop step streams each large tensor through memory about a dozen times; over the 33 million weights of a
dense head that costs a processor as much as the convolutions. The update is element-wise, so doing all of it on
one block that fits the cache before going to the next gives the same numbers, bit for bit, for a third of the traffic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from math import cos, pi

import torch
from torch import Tensor, nn

from rfmodel.settings import OptimiserSettings

BLOCK = 1 << 17  # elements: what three float32 tensors of it need fits the second-level caches of two cores


class BlockedRMSprop(torch.optim.Optimizer):
    r"""RMSprop, block by block; the numbers are those of `torch.optim.RMSprop`, bit for bit.

    .. math:: v \leftarrow \alpha v + (1-\alpha) g^2, \quad w \leftarrow w - \eta\, g / (\sqrt{v} + \epsilon),
              \quad g = \partial L/\partial w + \lambda w

    Parameters
    ----------
    params : iterable of Parameter
    lr, alpha, eps, weight_decay : float
        eta, alpha, epsilon and lambda.

    Notes
    -----
    Tieleman & Hinton (2012).
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(params, {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Callable[[], Tensor] | None = None) -> Tensor | None:
        """Do one update of every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    state = self.state[p]
                    if not state:
                        state["square_avg"] = torch.zeros_like(p, memory_format=torch.preserve_format)
                    for w, g, v in _blocks(p, p.grad, state["square_avg"]):
                        _rmsprop(w, g, v, group)
        return loss


def _rmsprop(w: Tensor, g: Tensor, v: Tensor, group: Mapping[str, float]) -> None:
    if group["weight_decay"]:
        g = g.add(w, alpha=group["weight_decay"])
    v.mul_(group["alpha"]).addcmul_(g, g, value=1 - group["alpha"])
    w.addcdiv_(g, v.sqrt().add_(group["eps"]), value=-group["lr"])


def _blocks(*tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    if tensors[0].numel() <= BLOCK or not all(t.is_contiguous() for t in tensors):
        return iter([tensors])
    return zip(*(t.view(-1).split(BLOCK) for t in tensors), strict=True)


def make_optimiser(
    name: str,
    params: list[nn.Parameter],
    learning_rate: float,
    weight_decay: float,
    options: Mapping[str, object],
) -> torch.optim.Optimizer:
    """Return the optimiser of that name, in the form that is fastest where the parameters are.

    Parameters
    ----------
    name : {"rmsprop", "adam", "adamw", "sgd"}
    params : list of Parameter
    learning_rate, weight_decay : float
    options : mapping
        Further keyword arguments of the torch optimiser (alpha, eps, betas, amsgrad, momentum, nesterov).
    """
    on_processor = all(p.device.type == "cpu" for p in params)
    common = {"lr": learning_rate, "weight_decay": weight_decay, **options}
    if name == "rmsprop":
        plain = set(options) <= {"alpha", "eps"}
        return BlockedRMSprop(params, **common) if on_processor and plain else torch.optim.RMSprop(params, **common)
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "sgd": torch.optim.SGD}
    return kinds[name](params, fused=True, **common)


def learning_rate(choice: OptimiserSettings, step: int, steps_per_epoch: int, epochs: int) -> float:
    r"""Return the learning rate of a step.

    .. math:: \eta_t = \eta \, w_t \, s_t, \quad w_t = w_0 + (1 - w_0) \min(1, t / T_w)

    with w_0 = `warmup_from`, T_w the steps of `warmup`, and s_t by `schedule`: 1 ("constant"); gamma^epoch
    ("exponential"); 1 / (1 + gamma t) ("inverse_time", Keras' decay); gamma^(milestones passed) ("step"); half a
    cosine ("cosine") or a line ("linear") from 1 to floor / eta over the steps that are left after the warm-up.

    Parameters
    ----------
    choice : OptimiserSettings
    step : int
        Steps done so far.
    steps_per_epoch, epochs : int
    """
    warmup = choice.warmup * steps_per_epoch
    factor = _schedule(choice, step, warmup, steps_per_epoch, epochs)
    if step < warmup:
        factor *= choice.warmup_from + (1 - choice.warmup_from) * step / warmup
    return choice.learning_rate * factor


def _schedule(choice: OptimiserSettings, step: int, warmup: float, steps_per_epoch: int, epochs: int) -> float:
    if choice.schedule == "exponential":
        return choice.gamma ** (step // steps_per_epoch)
    if choice.schedule == "inverse_time":
        return 1 / (1 + choice.gamma * step)
    if choice.schedule == "step":
        return choice.gamma ** sum(step >= milestone * steps_per_epoch for milestone in choice.milestones)
    if choice.schedule in ("cosine", "linear"):
        done = max(0.0, step - warmup) / max(1.0, steps_per_epoch * epochs - warmup)
        left = 0.5 * (1 + cos(pi * done)) if choice.schedule == "cosine" else 1 - done
        end = choice.floor / choice.learning_rate
        return end + (1 - end) * left
    return 1.0
