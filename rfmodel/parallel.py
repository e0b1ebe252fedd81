"""Several processes for one run, as torchrun starts them: each trains on its share of every batch.

The global batch is drawn and augmented alike everywhere, gradients are averaged by DistributedDataParallel, and batch
norms take their statistics over the whole batch, so that the numbers are those of one process, up to the order in which
sums are taken. Images of a last batch that the processes cannot share evenly are left out of that epoch. Two things are
a process's own: dropout's masks, and what Oja's rule reads of a batch (Algorithm 2's maximum), of which the mean over
processes is taken, as with gradient accumulation.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from rfmodel.errors import InputError

# torch 2.13 renamed what sends buffers in each pass, and warns of the old name
UNSENT = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)
PATIENCE = timedelta(hours=6)  # the others wait while the first extracts fields and writes


def asked() -> int:
    """Return how many processes the launcher started for this run; 1 without one.

    Raises
    ------
    InputError
        If WORLD_SIZE, in which launchers say so, is no number of processes.
    """
    told = os.environ.get("WORLD_SIZE", "1")
    if not told.isdecimal() or int(told) < 1:
        raise InputError(f"WORLD_SIZE = '{told}' is no number of processes; start them by torchrun, or unset it")
    return int(told)


def count() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if _joined() else 1


def place() -> int:
    """Return which of them this one is; 0 writes and tells."""
    return dist.get_rank() if _joined() else 0


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


@contextmanager
def together(device: str) -> Iterator[str]:
    """Join the processes that the launcher started, and yield the device of this one.

    Parameters
    ----------
    device : str
        "cpu" (by gloo) or "cuda" (by NCCL, a GPU each, in the order of LOCAL_RANK).

    Raises
    ------
    InputError
        If there are more processes than GPUs here, one GPU is named for all, or no launcher says where they meet.
    """
    if asked() == 1:
        yield device
        return
    if device.startswith("cuda"):
        own = int(os.environ.get("LOCAL_RANK", "0"))
        if device != "cuda":
            raise InputError(f"--device '{device}' is one GPU for {asked()} processes; use --device cuda")
        here = max(own + 1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))  # equal in all, so that the first tells
        if here > torch.cuda.device_count():
            raise InputError(
                f"{here} processes or more were started here for {torch.cuda.device_count()} GPUs; start one a GPU"
            )
        device = f"cuda:{own}"
        torch.cuda.set_device(device)
    if missing := [key for key in ("RANK", "MASTER_ADDR", "MASTER_PORT") if key not in os.environ]:
        raise InputError(
            f"WORLD_SIZE = {asked()} asks for so many processes, but {missing[0]} is not set; start them by torchrun, "
            "or unset WORLD_SIZE"
        )
    dist.init_process_group("nccl" if device.startswith("cuda") else "gloo", timeout=PATIENCE)
    try:
        yield device
    finally:
        dist.destroy_process_group()


@contextmanager
def apart() -> Iterator[None]:
    """Within it each process works on images of its own: an error may be one's alone, and that one tells.

    Raises
    ------
    InputError
        If another process has ended.
    """
    try:
        yield
    except InputError as error:
        error.apart = True
        raise
    except RuntimeError as error:
        if count() == 1 or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
            raise
        raise InputError(
            f"process {place()}: another of the {count()} has ended, and says why; what is finished is kept"
        ) from None


def check_batch(batch: int) -> None:
    """Refuse a batch that the processes cannot share evenly.

    Raises
    ------
    InputError
        If their number does not divide it.
    """
    if batch % asked():
        near = max(1, round(batch / asked())) * asked()
        raise InputError(
            f"train.batch = {batch} cannot be shared by {asked()} processes; use a multiple, such as {near}"
        )


def check_images(images: int) -> None:
    """Refuse fewer training images than there are processes.

    Raises
    ------
    InputError
        If one of them would see none.
    """
    if images < asked():
        raise InputError(f"{asked()} processes cannot share {images} training images; use more images, or one process")


def first_decides(value: object) -> object:
    """Return what the first process found, in every process."""
    if count() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, device=_meeting_place())
    return box[0]


def gathered(value: object) -> list[object]:
    """Return what each process holds, in the order of their places, in every process."""
    if count() == 1:
        return [value]
    found: list[object] = [None] * count()
    dist.all_gather_object(found, value)
    return found


def summed(values: Tensor) -> Tensor:
    """Return the sum of a tensor over the processes; the tensor itself where there is one process."""
    if count() > 1:
        values = values.clone()
        dist.all_reduce(values)
    return values


def wait_for_all() -> None:
    """Wait until every process is here."""
    if count() > 1:
        dist.barrier()


def _meeting_place() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def distributed(network: nn.Module, device: torch.device) -> nn.Module:
    """Return the network with its gradients averaged over the processes; itself where there is one process."""
    if count() == 1:
        return network
    # Buffers are equal everywhere without being sent: statistics are taken over all, draws come from equal seeds.
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(network, device_ids=ids, **{UNSENT: False})


class _Sum(torch.autograd.Function):
    """Sum over processes; its gradient is the sum of their gradients."""

    @staticmethod
    def forward(ctx: torch.autograd.function.FunctionCtx, x: Tensor) -> Tensor:
        return summed(x)

    @staticmethod
    def backward(ctx: torch.autograd.function.FunctionCtx, gradient: Tensor) -> Tensor:
        return summed(gradient.contiguous())


def synchronise(network: nn.Module) -> nn.Module:
    """Let every batch norm of a network take its statistics over all processes; keys and weights stay.

    torch's SyncBatchNorm does this on GPUs only; this one does it on any device.
    """
    if count() > 1:
        for module in network.modules():
            if type(module) in NORMS:
                module.__class__ = NORMS[type(module)]
    return network


class _Synchronised(nn.modules.batchnorm._BatchNorm):
    r"""Batch norm, y = \gamma (x - \mu) / \sqrt{\sigma^2 + \epsilon} + \beta, with moments over all processes."""

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or count() == 1:
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return self._over_all(x.float() if x.dtype is torch.bfloat16 else x).to(x.dtype)

    def _over_all(self, x: Tensor) -> Tensor:
        axes = [0, *range(2, x.ndim)]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        total = x.numel() / x.shape[1] * count()  # shares are equal
        mean = _Sum.apply(x.sum(axes)) / total
        centred = x - mean.view(shape)
        variance = _Sum.apply((centred**2).sum(axes)) / total
        if self.track_running_stats:
            self.num_batches_tracked.add_(1)
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * (total / max(1.0, total - 1)), self.momentum)
        return centred * (self.weight * (variance + self.eps).rsqrt()).view(shape) + self.bias.view(shape)


class _Synchronised1d(_Synchronised, nn.BatchNorm1d):
    pass


class _Synchronised2d(_Synchronised, nn.BatchNorm2d):
    pass


NORMS = {nn.BatchNorm1d: _Synchronised1d, nn.BatchNorm2d: _Synchronised2d}
