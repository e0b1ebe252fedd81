"""Layers whose weight is kept as W = U S V^T: three parameters in place of one, forward and backward."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rfmodel.errors import InputError
from rfmodel.factors.splitting import check_splits, decomposed, whole_rank


class Factored:
    r"""A layer of the matrix W = U diag(S) V^T that never makes W in its forward pass.

    Attributes
    ----------
    U : Parameter (m', r)
    S : Parameter (r,)
    V : Parameter (n', r)
    bias : Parameter or None

    Notes
    -----
    SSA (2024), section 3.1. The sizes m' and n' are those of the matrix that is split: see the two layers. There is no
    parameter `weight`; the property of that name makes it, for whoever wants to look at it.
    """

    U: nn.Parameter
    S: nn.Parameter
    V: nn.Parameter
    _plain: type[nn.Module]
    _settings: tuple[str, ...]

    def __init__(self, like: nn.Module, U: Tensor, S: Tensor, V: Tensor) -> None:
        nn.Module.__init__(self)  # the plain layer's own would make a weight and draw it
        for name in self._settings:
            setattr(self, name, getattr(like, name))
        is_learnt = next(like.parameters(recurse=False)).requires_grad
        for name, factor in (("U", U), ("S", S), ("V", V)):
            self.register_parameter(name, nn.Parameter(factor, requires_grad=is_learnt))
        self.register_parameter("bias", _copied(like.bias))
        self.train(like.training)

    @classmethod
    def of(cls, layer: nn.Module, rank: int | float | None = None) -> Self:
        """Return the factored form of a plain layer, by the singular value decomposition of its matrix.

        Parameters
        ----------
        layer : Linear or Conv2d
            It stays as it is; the factors are new parameters.
        rank : int or float, optional
            A whole number, capped at the full rank, or a fraction of the full rank; the full one unless given.

        Raises
        ------
        InputError
            If the layer cannot be split, or the rank is none.
        """
        check_splits(layer)
        if not isinstance(layer, cls._plain):
            raise InputError(f"{cls.__name__} is no form of a {type(layer).__name__}; factorise(network, names) knows")
        matrix = cls._as_matrix(layer.weight.detach())
        return cls(layer, *decomposed(matrix, whole_rank(rank, min(matrix.shape))))

    @property
    def rank(self) -> int:
        return len(self.S)

    @property
    def full_rank(self) -> int:
        return min(len(self.U), len(self.V))

    def matrix(self) -> Tensor:
        """Return U diag(S) V^T, (m', n'), differentiable."""
        return (self.U * self.S) @ self.V.T

    @property
    def weight(self) -> Tensor:
        """The plain layer's weight, differentiable; made anew at each access, so that nothing can be written to it."""
        return self._as_weight(self.matrix())

    def merged(self) -> nn.Module:
        """Return the plain layer of the same function, with parameters of its own."""
        plain = self._blank()
        plain.weight = nn.Parameter(self.weight.detach(), requires_grad=self.S.requires_grad)
        plain.register_parameter("bias", _copied(self.bias))
        return plain.train(self.training)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw a plain layer's weight and bias anew, and split the weight at the present rank."""
        plain = self.merged()
        plain.reset_parameters()
        for name, factor in zip("USV", decomposed(self._as_matrix(plain.weight), self.rank), strict=True):
            getattr(self, name).copy_(factor)
        if self.bias is not None:
            self.bias.copy_(plain.bias)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rank={self.rank}"

    def _blank(self) -> nn.Module:
        raise NotImplementedError

    @staticmethod
    def _as_matrix(W: Tensor) -> Tensor:
        raise NotImplementedError

    def _as_weight(self, matrix: Tensor) -> Tensor:
        raise NotImplementedError


class FactoredLinear(Factored, nn.Linear):
    r"""A linear layer of two thin products: m' outputs, n' inputs.

    .. math:: y = U \left( S \odot V^T h \right) + b
    """

    _plain = nn.Linear
    _settings = ("in_features", "out_features")

    def forward(self, h: Tensor) -> Tensor:
        y = F.linear(h, self.V.T)
        return F.linear(y * self.S, self.U, self.bias)

    def _blank(self) -> nn.Linear:
        return nn.Linear(self.in_features, self.out_features, bias=False, device="meta")

    @staticmethod
    def _as_matrix(W: Tensor) -> Tensor:
        return W

    def _as_weight(self, matrix: Tensor) -> Tensor:
        return matrix


class FactoredConv2d(Factored, nn.Conv2d):
    r"""A convolution of two separable ones: down the columns into r maps, then along the rows out of them.

    .. math:: K'_{(n w), (c h)} = K_{n c h w}, \quad K' = U S V^T, \quad
              y = K_2 * (S K_1 * h) + b

    with K_1 = V^T as (r, C, H, 1) and K_2 = U as (N, r, 1, W), so that m' = N W and n' = C H. What the layer does
    vertically (stride, padding, dilation) K_1 does, and what it does horizontally K_2 does.

    Notes
    -----
    SSA (2024), section 3.1, after Yang et al. (2020). The paper puts the square root of S into both kernels, and gives
    U the shape of K_1; the product is the same, and here S stays a parameter, which its losses act on.
    """

    _plain = nn.Conv2d
    _settings = (
        *("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"),
        *("transposed", "output_padding", "_reversed_padding_repeated_twice"),
    )

    def __init__(self, like: nn.Conv2d, U: Tensor, S: Tensor, V: Tensor) -> None:
        super().__init__(like, U, S, V)
        W = like.weight
        # no factor has dimensions to show it
        self._is_channels_last = W.is_contiguous(memory_format=torch.channels_last) and not W.is_contiguous()

    def forward(self, h: Tensor) -> Tensor:
        (N, C), (H, W), r = (self.out_channels, self.in_channels), self.kernel_size, self.rank
        U, V = self.U, self.V
        # S scales a kernel and not the r maps between them: the same product, and no second copy of the maps is kept.
        if C * H <= N * W:
            V = V * self.S
        else:
            U = U * self.S
        left, right, top, bottom = self._reversed_padding_repeated_twice
        stride, dilation = self.stride, self.dilation
        maps = self._along(h, V.T.reshape(r, C, H, 1), (0, 0, top, bottom), (stride[0], 1), (dilation[0], 1))
        K2 = U.reshape(N, W, r).transpose(1, 2).unsqueeze(2)
        K2 = K2.clone(memory_format=torch.contiguous_format)  # as it lies it is channels_last, and so would its maps be
        return self._along(maps, K2, (left, right, 0, 0), (1, stride[1]), (1, dilation[1]), self.bias)

    def _along(self, h: Tensor, K: Tensor, pads: tuple, stride: tuple, dilation: tuple, bias: Tensor | None = None):
        left, right, top, bottom = pads
        if self.padding_mode == "zeros" and left == right and top == bottom:
            return F.conv2d(h, K, bias, stride, (top, left), dilation)
        if any(pads):
            h = F.pad(h, pads, "constant" if self.padding_mode == "zeros" else self.padding_mode)
        return F.conv2d(h, K, bias, stride, 0, dilation)

    def _blank(self) -> nn.Conv2d:
        shape = (self.in_channels, self.out_channels, self.kernel_size, self.stride, self.padding, self.dilation)
        return nn.Conv2d(*shape, groups=1, bias=False, padding_mode=self.padding_mode, device="meta")

    @staticmethod
    def _as_matrix(W: Tensor) -> Tensor:
        N, C, H, width = W.shape
        return W.permute(0, 3, 1, 2).reshape(N * width, C * H)

    def _as_weight(self, matrix: Tensor) -> Tensor:
        H, W = self.kernel_size
        K = matrix.reshape(self.out_channels, W, self.in_channels, H).permute(0, 2, 3, 1)
        return K.contiguous(memory_format=torch.channels_last if self._is_channels_last else torch.contiguous_format)


def _copied(bias: nn.Parameter | None) -> nn.Parameter | None:
    return None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
