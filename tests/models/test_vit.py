"""The ViT is timm's by name and shape, and Dosovitskiy et al.'s by value."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.models import ViT
from rfmodel.models.vit import DropPath


def count(network):
    return sum(p.numel() for p in network.parameters())


def closed_form(dim, depth, ratio, patch, size, classes):
    tokens = 1 + (size // patch) ** 2
    attention = dim * 3 * dim + 3 * dim + dim * dim + dim
    mlp = dim * int(ratio * dim) + int(ratio * dim) + int(ratio * dim) * dim + dim
    embedding = 3 * patch**2 * dim + dim + dim + tokens * dim
    return embedding + depth * (attention + mlp + 4 * dim) + 2 * dim + dim * classes + classes


def test_default_is_table_c2():
    with torch.device("meta"):
        network = ViT()
    assert count(network) == closed_form(384, 8, 2, 4, 32, 10)
    attn = network.blocks[0].attn
    assert (attn.heads, attn.attn_drop, network.head_drop.p) == (8, 0.1, 0.1)
    assert attn.qkv.bias is not None
    assert network.pos_embed.shape == (1, 65, 384)


def test_same_class_is_vit_b_16():
    with torch.device("meta"):
        network = ViT(768, 12, 12, 4.0, patch=16, size=224, classes=1000)
        assert network(torch.empty(3, 3, 224, 224)).shape == (3, 1000)
    assert count(network) == closed_form(768, 12, 4, 16, 224, 1000) == 86_567_656


def test_keys_are_timms():
    leaves = ("weight", "bias")
    inside = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")
    expected = ["cls_token", "pos_embed", *(f"patch_embed.proj.{leaf}" for leaf in leaves)]
    expected += [f"blocks.{i}.{name}.{leaf}" for i in (0, 1) for name in inside for leaf in leaves]
    expected += [f"{name}.{leaf}" for name in ("norm", "head") for leaf in leaves]
    assert list(ViT(8, 2, 2).state_dict()) == expected


def test_timms_weights_give_timms_logits_and_gradients_also_with_dropout():
    timm = pytest.importorskip("timm.models.vision_transformer", reason="the reference is timm, extra `vision`")
    torch.manual_seed(0)
    rates = dict(drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1)
    sizes = dict(img_size=16, patch_size=4, embed_dim=24, depth=3, num_heads=3, mlp_ratio=2.0, num_classes=10)
    theirs = timm.VisionTransformer(**sizes, **rates).double()
    ours = ViT(24, 3, 3, size=16).double()
    ours.load_state_dict(theirs.state_dict())
    images, logits, gradients = torch.randn(5, 3, 16, 16, dtype=torch.double), [], []
    for network in (ours, theirs):
        torch.manual_seed(1)
        logits.append(torch.stack([network.train()(images), network.eval()(images)]))
        logits[-1].logsumexp(2).sum().backward()
        gradients.append({name: p.grad for name, p in network.named_parameters()})
    # timm keeps the rates of drop path in float32
    torch.testing.assert_close(*logits, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-6)


def test_separate_layers_split_the_fused_key_in_three():
    fused, apart = set(ViT(8, 1, 2).state_dict()), set(ViT(8, 1, 2, fused_qkv=False).state_dict())
    assert fused - apart == {f"blocks.0.attn.qkv.{leaf}" for leaf in ("weight", "bias")}
    assert apart - fused == {f"blocks.0.attn.{part}.{leaf}" for part in "qkv" for leaf in ("weight", "bias")}


@pytest.mark.parametrize("qkv_bias", [True, False])
def test_separate_and_fused_layers_give_the_same_logits(qkv_bias):
    torch.manual_seed(0)
    fused = ViT(24, 2, 3, qkv_bias=qkv_bias, size=16).double().eval()
    apart = ViT(24, 2, 3, qkv_bias=qkv_bias, size=16, fused_qkv=False).double().eval()
    state = {}
    for key, value in fused.state_dict().items():
        if ".qkv." in key:
            state |= {key.replace("qkv", p): part for p, part in zip("qkv", value.chunk(3), strict=True)}
        else:
            state[key] = value
    apart.load_state_dict(state)
    images = torch.randn(3, 3, 16, 16, dtype=torch.double)
    torch.testing.assert_close(apart(images), fused(images))


def test_attention_is_the_softmax_of_scaled_products_in_each_head():
    torch.manual_seed(0)
    attn = ViT(12, 1, 3).double().eval().blocks[0].attn
    nn.init.normal_(attn.qkv.weight)
    x = torch.randn(2, 5, 12, dtype=torch.double)
    q, k, v = (x @ w.T + b for w, b in zip(attn.qkv.weight.chunk(3), attn.qkv.bias.chunk(3), strict=True))
    heads = []
    for h in range(3):
        mine = slice(4 * h, 4 * h + 4)
        weights = (q[..., mine] @ k[..., mine].transpose(1, 2) / 4**0.5).softmax(-1)
        heads.append(weights @ v[..., mine])
    torch.testing.assert_close(attn(x), torch.cat(heads, -1) @ attn.proj.weight.T + attn.proj.bias)


def test_patch_embedding_is_a_dense_layer_over_each_patch_row_by_row():
    embed, images = ViT(8, 1, 2).double().patch_embed, torch.randn(2, 3, 8, 12, dtype=torch.double)
    patch = images[:, :, 4:8, 8:12].flatten(1)  # second row, third column: number 3 + 2
    expected = patch @ embed.proj.weight.flatten(1).T + embed.proj.bias
    torch.testing.assert_close(embed(images)[:, 5], expected)


def test_without_positions_logits_do_not_depend_on_the_order_of_the_patches():
    torch.manual_seed(0)
    network = ViT(16, 2, 2, size=8).double().eval()
    images = torch.randn(2, 3, 8, 8, dtype=torch.double)
    turned = torch.roll(images, (4, 4), dims=(2, 3))
    assert not torch.allclose(network(images), network(turned), rtol=0, atol=1e-12)
    nn.init.zeros_(network.pos_embed)
    torch.testing.assert_close(network(images), network(turned))


def test_residual_stream_is_the_output_of_modules_without_parameters():
    network, seen = ViT(8, 3, 2, size=8).eval(), {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, args, out, name=name: seen.update({name: (args[0], out)}))
    network(torch.randn(2, 3, 8, 8))
    before = seen["pos_drop"][1]
    for i in range(3):
        block = f"blocks.{i}"
        first, second = seen[f"{block}.residual1"][1], seen[f"{block}.residual2"][1]
        assert seen[f"{block}.norm1"][0] is before
        assert seen[f"{block}.norm2"][0] is first
        torch.testing.assert_close(first, before + seen[f"{block}.attn"][1])
        torch.testing.assert_close(second, first + seen[f"{block}.mlp"][1])
        assert seen[block][1] is second
        before = second
        assert not network.get_submodule(f"{block}.residual1").state_dict()
        assert not network.get_submodule(f"{block}.residual2").state_dict()
    assert seen["norm"][0] is before
    assert not network.pos_drop.state_dict()


def test_drop_path_is_the_identity_in_evaluation_and_at_probability_zero():
    x = torch.randn(6, 3, 2)
    assert torch.equal(DropPath(0.9).eval()(x), x)
    assert torch.equal(DropPath(0.0).train()(x), x)


def test_drop_path_zeroes_whole_samples_and_keeps_the_expectation():
    torch.manual_seed(0)
    p, samples = 0.25, 4096
    y = DropPath(p).train()(torch.ones(samples, 3, 2))
    assert y.unique().tolist() == pytest.approx([0, 1 / (1 - p)])
    assert torch.equal(y, y[:, :1, :1].expand_as(y))
    sd = (p / (1 - p) / samples) ** 0.5  # of the mean of b / (1 - p)
    assert y.mean() == pytest.approx(1, abs=5 * sd)


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_drop_path_grows_linearly_from_zero_in_the_first_block(depth):
    blocks = ViT(8, depth, 2, drop_path=0.2).blocks
    rates = [block.drop_path1.p for block in blocks]
    assert rates == pytest.approx([0.2 * i / (depth - 1) for i in range(depth)] if depth > 1 else [0])
    assert rates == [block.drop_path2.p for block in blocks]


@pytest.mark.parametrize("name", ["drop", "pos_drop", "proj_drop", "attn_drop", "drop_path"])
def test_each_dropout_acts_in_training_only(name):
    off = dict(drop=0.0, pos_drop=0.0, proj_drop=0.0, attn_drop=0.0, drop_path=0.0)
    torch.manual_seed(0)
    network = ViT(8, 2, 2, size=8, **off | {name: 0.5})
    for block in network.blocks:
        nn.init.normal_(block.attn.qkv.weight)
    images = torch.randn(16, 3, 8, 8)
    assert not torch.equal(network(images), network(images))
    network.eval()
    assert torch.equal(network(images), network(images))


def test_weights_are_drawn_with_sd_002_and_biases_are_zero():
    torch.manual_seed(0)
    network = ViT(64, 1, 2)
    for module in network.modules():
        if isinstance(module, nn.Linear):
            assert not module.bias.any()
    weight = network.blocks[0].attn.qkv.weight.detach()
    assert weight.std() == pytest.approx(0.02, rel=0.05)  # 12,288 draws: relative sd .006
    assert network.pos_embed.detach().std() == pytest.approx(0.02, rel=0.1)  # 4,160 draws: .011
    assert all(m.eps == 1e-6 for m in network.modules() if isinstance(m, nn.LayerNorm))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"heads": 7}, "heads 7 asked for dim 384; heads share the width: use a divisor of 384"),
        ({"patch": 5}, "patch 5 asked for size 32; patches tile the image: use a divisor of 32"),
        ({"mlp_ratio": 0.001}, "mlp_ratio 0.001 asked; it leaves the MLP no units: use at least 0.0026"),
        ({"dim": 0}, "dim 0 asked; a ViT needs at least 1"),
        ({"depth": 0}, "depth 0 asked"),
        ({"heads": 0}, "heads 0 asked"),
        ({"patch": -4}, "patch -4 asked"),
        ({"classes": 0}, "classes 0 asked"),
        ({"channels": 0}, "channels 0 asked"),
        ({"size": 0}, "size 0 asked"),
        ({"drop": 1.0}, "drop 1.0 asked; use a probability from 0 to below 1"),
        ({"pos_drop": -0.1}, "pos_drop -0.1 asked"),
        ({"proj_drop": 2.0}, "proj_drop 2.0 asked"),
        ({"attn_drop": 1.5}, "attn_drop 1.5 asked"),
        ({"drop_path": 1.0}, "drop_path 1.0 asked"),
    ],
)
def test_impossible_sizes_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        ViT(**options)
