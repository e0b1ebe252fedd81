"""ViT: vision transformers, from that of Hanut & Kadmon's experiments (Table C2) to ViT-B/16."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError


class ViT(nn.Module):
    """Patches and a class token, `depth` pre-norm blocks of attention and MLP, logits from the class token.

    image -> patch_embed, cls_token, + pos_embed, pos_drop -> blocks -> norm -> token 0 -> head_drop head(classes)

    Parameters
    ----------
    dim : int
        Width of the residual stream.
    depth : int
        Blocks.
    heads : int
        Attention heads, a divisor of `dim`.
    mlp_ratio : float
        Hidden units of a block's MLP over `dim`.
    patch : int
        Side of a patch in pixels, a divisor of `size`.
    qkv_bias : bool
    fused_qkv : bool
        One dense layer of 3 x dim units for queries, keys and values; False: three layers q, k and v, so that each
        has a feedback map of its own.
    drop, pos_drop, proj_drop, attn_drop, drop_path : float
        Dropout before the head, of the embedded patches, of what attention and MLP put out (and of the MLP's hidden
        units), of the attention weights; and the probability with which a sample skips the branches of the last
        block, growing linearly from 0 in the first.
    classes : int
    channels : int
        Channels of the image; 1 is grey.
    size : int
        Side of the image in pixels.

    Raises
    ------
    InputError
        If a size is not positive, `heads` does not divide `dim`, `patch` does not divide `size`, or a probability is
        not one below 1.

    Notes
    -----
    Dosovitskiy et al. (2021), equations 1-4; Hanut & Kadmon, appendix C.1, Table C2, who use timm. Names, shapes,
    layer norm (epsilon 1e-6) and initialisation are those of timm's VisionTransformer, so that with `fused_qkv` its
    weights load. The table's "Drop Rate 0.1" is timm's drop_rate. In present versions of timm that acts before the
    head only, as by default here; in early ones it acted at the embedding, the projections and the MLP too: give
    `pos_drop` and `proj_drop` the same rate for those.

    ViT-B/16 is `ViT(768, 12, 12, 4.0, patch=16, size=224, classes=1000)`.

    Every tensor of the residual stream is the output of a module without parameters (`pos_drop`, and `residual1` and
    `residual2` of each block), so that an error can be cut and delivered there.
    """

    def __init__(
        self,
        dim: int = 384,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 2.0,
        patch: int = 4,
        *,
        qkv_bias: bool = True,
        fused_qkv: bool = True,
        drop: float = 0.1,
        pos_drop: float = 0.0,
        proj_drop: float = 0.0,
        attn_drop: float = 0.1,
        drop_path: float = 0.1,
        classes: int = 10,
        channels: int = 3,
        size: int = 32,
    ) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        _check_sizes(dim=dim, depth=depth, heads=heads, patch=patch, classes=classes, channels=channels, size=size)
        _check_divisors(dim, heads, size, patch, mlp_ratio)
        _check_odds(drop=drop, pos_drop=pos_drop, proj_drop=proj_drop, attn_drop=attn_drop, drop_path=drop_path)
        self.patch_embed = PatchEmbed(channels, dim, patch)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dim))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + (size // patch) ** 2, dim))
        self.pos_drop = nn.Dropout(pos_drop)
        self.blocks = nn.Sequential(
            *(
                Block(
                    Attention(dim, heads, qkv_bias, fused_qkv, attn_drop, proj_drop),
                    FeedForward(dim, hidden, proj_drop),
                    dim,
                    drop_path * i / max(depth - 1, 1),
                )
                for i in range(depth)
            )
        )
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        self.head_drop = nn.Dropout(drop)
        self.head = nn.Linear(dim, classes)
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (batch, classes) for images (batch, channels, size, size)."""
        patches = self.patch_embed(images)
        tokens = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1)
        tokens = self.norm(self.blocks(self.pos_drop(tokens + self.pos_embed)))
        return self.head(self.head_drop(tokens[:, 0]))

    def _initialise(self) -> None:
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        nn.init.normal_(self.cls_token, std=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class PatchEmbed(nn.Module):
    """A dense layer over each patch, written as a convolution whose stride is its side."""

    def __init__(self, channels: int, dim: int, patch: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, dim, patch, stride=patch)

    def forward(self, images: Tensor) -> Tensor:
        """Return patches (batch, (size / patch)^2, dim), row by row."""
        return self.proj(images).flatten(2).transpose(1, 2)


class Block(nn.Module):
    """x = x + attn(norm1(x)), then x = x + mlp(norm2(x)); Dosovitskiy et al. (2021), equations 2 and 3."""

    def __init__(self, attn: Attention, mlp: FeedForward, dim: int, drop_path: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = attn
        self.drop_path1 = DropPath(drop_path)
        self.residual1 = nn.Identity()
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = mlp
        self.drop_path2 = DropPath(drop_path)
        self.residual2 = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return tokens (batch, tokens, dim)."""
        x = self.residual1(x + self.drop_path1(self.attn(self.norm1(x))))
        return self.residual2(x + self.drop_path2(self.mlp(self.norm2(x))))


class Attention(nn.Module):
    """softmax(q k' / sqrt(dim / heads)) v in each head, then a dense layer over the heads."""

    def __init__(self, dim: int, heads: int, bias: bool, fused: bool, attn_drop: float, proj_drop: float) -> None:
        super().__init__()
        self.heads, self.fused, self.attn_drop = heads, fused, attn_drop
        if fused:
            self.qkv = nn.Linear(dim, 3 * dim, bias=bias)
        else:
            self.q = nn.Linear(dim, dim, bias=bias)
            self.k = nn.Linear(dim, dim, bias=bias)
            self.v = nn.Linear(dim, dim, bias=bias)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, dim)."""
        parts = self.qkv(x).chunk(3, dim=-1) if self.fused else (self.q(x), self.k(x), self.v(x))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        mixed = _attended(q, k, v, self.attn_drop if self.training else 0.0)
        return self.proj_drop(self.proj(mixed.transpose(1, 2).flatten(2)))


def _attended(q: Tensor, k: Tensor, v: Tensor, odds: float) -> Tensor:
    """softmax(q k^T / sqrt d) v, each (batch, heads, tokens, d), with dropout on the softmax."""
    if not odds or q.device.type != "cpu":
        return nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=odds)
    # A processor has no fused kernel with dropout: torch then goes through checks for fully masked rows, which
    # there are none of here. Without them a pass forward and back takes two thirds (65 tokens, bf16).
    scores = (q * q.shape[-1] ** -0.5) @ k.mT
    with torch.autocast("cpu", enabled=False):
        return nn.functional.dropout(scores.softmax(-1), odds) @ v.to(scores.dtype)


class FeedForward(nn.Module):
    """Two dense layers with a GELU between."""

    def __init__(self, dim: int, hidden: int, drop: float) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, hidden)
        self.act = nn.GELU()
        self.drop1 = nn.Dropout(drop)
        self.fc2 = nn.Linear(hidden, dim)
        self.drop2 = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Return (batch, tokens, dim)."""
        return self.drop2(self.fc2(self.drop1(self.act(self.fc1(x)))))


class DropPath(nn.Module):
    """Drop a branch for whole samples: x b / (1 - p), b ~ Bernoulli(1 - p) by sample; Huang et al. (2016).

    The division keeps the expectation, so that evaluation needs no scale.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Return x, or in training x with whole samples zeroed."""
        if self.p == 0.0 or not self.training:
            return x
        kept = x.new_empty(len(x), *[1] * (x.ndim - 1)).bernoulli_(1 - self.p)
        return x * kept / (1 - self.p)


def _check_sizes(**sizes: int) -> None:
    for name, value in sizes.items():
        if value < 1:
            raise InputError(f"{name} {value} asked; a ViT needs at least 1")


def _check_divisors(dim: int, heads: int, size: int, patch: int, mlp_ratio: float) -> None:
    if dim % heads:
        raise InputError(f"heads {heads} asked for dim {dim}; heads share the width: use a divisor of {dim}")
    if size % patch:
        raise InputError(f"patch {patch} asked for size {size}; patches tile the image: use a divisor of {size}")
    if int(dim * mlp_ratio) < 1:
        raise InputError(f"mlp_ratio {mlp_ratio} asked; it leaves the MLP no units: use at least {1 / dim}")


def _check_odds(**odds: float) -> None:
    for name, p in odds.items():
        if not 0 <= p < 1:
            raise InputError(f"{name} {p} asked; use a probability from 0 to below 1")
