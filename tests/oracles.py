"""Oracles: literal transcriptions, written to be read beside the papers and slow on purpose."""

from __future__ import annotations

import torch
from torch import nn


def multi_root_backward(network: nn.Module, edges, carry, loss, images, labels) -> dict[str, torch.Tensor]:
    """Parameter gradients by the definition: cut the network at each target, then one backward pass a target.

    The loss is the first root. Its pass leaves errors at the sources after the last cut; each target, from the last
    to the first, then receives the sum over its edges of B_e delta_source and is the root of the next pass.

    Parameters
    ----------
    edges : list of Edge
    carry : dict of Edge to a function (delta, activity) -> error at the target, written with explicit matrices
    loss : callable of (output, labels)
    """
    cuts, reads, handles = {}, {}, []
    order = []

    def cut(port):
        def hook(module, args):
            cuts[port] = args[0]
            order.append(port)
            return (args[0].detach(),)

        return hook

    def read(port):
        def hook(module, args, output):
            output.retain_grad()
            reads[port] = output

        return hook

    for port in {edge.target for edge in edges}:
        assert port.side == "input"
        handles.append(network.get_submodule(port.module).register_forward_pre_hook(cut(port)))
    for port in {edge.source for edge in edges}:
        assert port.side == "output"
        handles.append(network.get_submodule(port.module).register_forward_hook(read(port)))
    network.zero_grad()
    loss(network(images), labels).backward()
    for handle in handles:
        handle.remove()
    for port in reversed(order):
        delta = sum(carry[edge](reads[edge.source].grad, cuts[port].detach()) for edge in edges if edge.target == port)
        cuts[port].backward(delta)
    return {name: p.grad.clone() for name, p in network.named_parameters()}


def convolution_matrix(weight: torch.Tensor, size: int, padding: int) -> torch.Tensor:
    """Return the dense matrix (m size size, n size size) of a stride-1 convolution, entry by entry."""
    m, n, k, _ = weight.shape
    W = torch.zeros(m, size, size, n, size, size, dtype=weight.dtype)
    for i in range(size):
        for j in range(size):
            for a in range(k):
                for b in range(k):
                    y, x = i + a - padding, j + b - padding
                    if 0 <= y < size and 0 <= x < size:
                        W[:, i, j, :, y, x] += weight[:, :, a, b]
    return W.reshape(m * size * size, n * size * size)


def oja_sample_by_sample(P: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Return the increment of eq. 15 averaged over samples: P delta delta^T (I - P^T P), one sample at a time."""
    eye = torch.eye(P.shape[1], dtype=P.dtype)
    total = torch.zeros_like(P)
    for delta in errors:
        total += P @ torch.outer(delta, delta) @ (eye - P.T @ P)
    return total / len(errors)


def algorithm_2(P: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Return Delta P of Algorithm 2 with its covariance formed: P (C / max diag C) (I - P^T P)."""
    centred = errors - errors.mean(0)
    C = centred.T @ centred
    eye = torch.eye(P.shape[1], dtype=P.dtype)
    return P @ (C / C.diag().max()) @ (eye - P.T @ P)
