"""Factored layers: the plain layer's function, computed and kept as U S V^T."""

from __future__ import annotations

import copy
import io
import pickle

import pytest
import torch
from convolutions import CONVOLUTIONS, convolution
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from rfmodel.factors import Factored, FactoredConv2d, FactoredLinear

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")  # the plain layer's
ROUNDING = {"rtol": 0, "atol": 1e-12}  # float64: some ten thousand units of rounding on values of order one
WHOLE = {
    **{name: options for name, options in CONVOLUTIONS.items() if options.get("groups", 1) == 1},
    "one row": {"kernel_size": (1, 4), "padding": (0, 2), "stride": (2, 1)},
    "one column": {"kernel_size": (4, 1), "dilation": (2, 1), "padding": (3, 0)},
    "replicate, even kernel same": {"kernel_size": (2, 4), "padding": "same", "padding_mode": "replicate"},
    "one pixel, stride": {"kernel_size": 1, "stride": 2, "padding": 1},
    "all at once": {"kernel_size": (3, 2), "stride": (1, 3), "padding": (2, 1), "dilation": (2, 3), "bias": False},
}


def conv_of(name):
    if name in CONVOLUTIONS:
        return convolution(name)
    torch.manual_seed(0)
    return nn.Conv2d(4, 6, **WHOLE[name]).double()


def linear(n=7, m=5, bias=True):
    torch.manual_seed(0)
    return nn.Linear(n, m, bias=bias).double()


def form_of(plain, rank=None):
    return (FactoredLinear if isinstance(plain, nn.Linear) else FactoredConv2d).of(plain, rank)


def maps(*shape):
    torch.manual_seed(1)
    return torch.randn(*shape).double()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("leading", [(), (3,), (2, 3), (2, 3, 4)])
def test_a_linear_layer_of_full_rank_is_the_plain_one_over_leading_dimensions(leading, bias):
    plain, h = linear(bias=bias), maps(*leading, 7)
    torch.testing.assert_close(FactoredLinear.of(plain)(h), plain(h), **ROUNDING)


@pytest.mark.parametrize("name", WHOLE)
def test_a_convolution_of_full_rank_is_the_plain_one(name):
    plain, h = conv_of(name), maps(2, 4, 7, 6)
    layer = FactoredConv2d.of(plain)
    torch.testing.assert_close(layer(h), plain(h), **ROUNDING)
    torch.testing.assert_close(layer(h[0]), plain(h[0]), **ROUNDING)  # no batch


@pytest.mark.parametrize("name", WHOLE)
def test_merging_restores_the_plain_layer(name):
    plain = conv_of(name)
    merged = FactoredConv2d.of(plain).merged()
    assert type(merged) is nn.Conv2d and merged.extra_repr() == plain.extra_repr()
    for key, value in plain.state_dict().items():
        torch.testing.assert_close(merged.state_dict()[key], value, **ROUNDING)
    h = maps(2, 4, 7, 6)
    torch.testing.assert_close(merged(h), plain(h), **ROUNDING)


@settings(max_examples=40, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_a_convolution_of_any_rank_is_that_by_its_own_weight(data):
    C, N = data.draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    kernel, stride, dilation = (data.draw(st.tuples(st.integers(1, k), st.integers(1, k))) for k in (4, 3, 2))
    padding, mode = data.draw(
        st.one_of(
            st.tuples(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.just("zeros")),
            st.tuples(st.tuples(st.integers(0, 3), st.integers(0, 3)), st.sampled_from(["circular", "reflect"])),
        )
    )
    plain = nn.Conv2d(C, N, kernel, stride, padding, dilation, padding_mode=mode).double()
    rank = data.draw(st.integers(1, min(N * kernel[1], C * kernel[0])))
    layer = FactoredConv2d.of(plain, rank)
    assert layer.rank == rank
    with torch.no_grad():
        plain.weight.copy_(layer.weight)
    h = maps(2, C, 8, 9)
    torch.testing.assert_close(layer(h), plain(h), **ROUNDING)


def test_the_second_kernel_after_the_first_is_the_kernel():
    plain = nn.Conv2d(3, 4, (2, 5)).double()
    layer = FactoredConv2d.of(plain)
    K1 = layer.V.T.reshape(layer.rank, 3, 2, 1)
    K2 = torch.stack([layer.U[5 * n : 5 * (n + 1)].T for n in range(4)])[:, :, None]  # (N, r, 1, W)
    K = torch.einsum("nrw,r,rch->nchw", K2[:, :, 0], layer.S, K1[..., 0])
    torch.testing.assert_close(K, plain.weight, **ROUNDING)


def test_the_papers_two_kernels_with_the_root_of_s_in_both_do_the_same():
    plain, h = nn.Conv2d(3, 4, (2, 5), bias=False).double(), maps(2, 3, 8, 9)
    layer = FactoredConv2d.of(plain)
    r, root = layer.rank, layer.S.sqrt()
    K1 = (layer.V * root).T.reshape(r, 3, 2, 1)
    K2 = (layer.U * root).reshape(4, 5, r).movedim(2, 1)[:, :, None]
    two = nn.functional.conv2d(nn.functional.conv2d(h, K1), K2)
    torch.testing.assert_close(layer(h), two, **ROUNDING)


@pytest.mark.parametrize(("kernel", "channels"), [((2, 5), (3, 4)), ((5, 2), (4, 3))])
def test_gradients_of_the_factors_are_those_of_the_weight_through_u_s_v(kernel, channels):
    # both shapes: S goes into the smaller of the two kernels
    layer, h = FactoredConv2d.of(nn.Conv2d(*channels, kernel, padding=1).double(), 4), maps(2, channels[0], 8, 9)
    layer(h).pow(3).sum().backward()
    plain = layer.merged()
    plain(h).pow(3).sum().backward()
    N, C, H, W = plain.weight.shape
    G = plain.weight.grad.permute(0, 3, 1, 2).reshape(N * W, C * H)
    U, S, V = layer.U.detach(), layer.S.detach(), layer.V.detach()
    near = {"rtol": 1e-10, "atol": 1e-10}
    torch.testing.assert_close(layer.U.grad, G @ V * S, **near)
    torch.testing.assert_close(layer.S.grad, (U * (G @ V)).sum(0), **near)
    torch.testing.assert_close(layer.V.grad, G.T @ U * S, **near)
    torch.testing.assert_close(layer.bias.grad, plain.bias.grad, **near)


def test_a_linear_layers_factor_gradients_are_those_of_the_weight_through_u_s_v():
    layer, h = FactoredLinear.of(linear(), 3), maps(4, 2, 7)
    layer(h).pow(3).sum().backward()
    plain = layer.merged()
    plain(h).pow(3).sum().backward()
    G, U, S, V = plain.weight.grad, layer.U.detach(), layer.S.detach(), layer.V.detach()
    torch.testing.assert_close(layer.U.grad, G @ V * S, **ROUNDING)
    torch.testing.assert_close(layer.S.grad, (U * (G @ V)).sum(0), **ROUNDING)
    torch.testing.assert_close(layer.V.grad, G.T @ U * S, **ROUNDING)


def test_no_step_of_the_forward_pass_makes_the_weight(monkeypatch):
    plains = [linear(9, 8), nn.Conv2d(4, 6, 3).double()]
    layers = [form_of(plain, 2) for plain in plains]

    def made(self):
        raise AssertionError("the matrix was made")

    monkeypatch.setattr(Factored, "matrix", made)
    layers[0](maps(3, 9)).sum().backward()
    layers[1](maps(2, 4, 6, 6)).sum().backward()


@pytest.mark.parametrize("plain", [linear(), nn.Conv2d(4, 6, (3, 2), stride=2, padding=1)], ids=["linear", "conv"])
def test_a_factored_layer_is_one_of_its_kind_without_a_weight_of_its_own(plain):
    layer = form_of(plain)
    assert isinstance(layer, type(plain)) and isinstance(layer, Factored)
    assert "weight" not in layer._parameters and [name for name, _ in layer.named_parameters()] == [
        "U",
        "S",
        "V",
        "bias",
    ]
    for name in plain.__constants__:
        assert getattr(layer, name) == getattr(plain, name)
    torch.testing.assert_close(
        layer.weight, plain.weight, rtol=0, atol=1e-6 if layer.S.dtype == torch.float32 else 1e-12
    )
    assert layer.weight.requires_grad and f"rank={layer.rank}" in repr(layer)


def test_sizes_are_those_of_the_matrix_that_is_split():
    layer = FactoredConv2d.of(nn.Conv2d(4, 6, (3, 2)), 5)
    assert (layer.U.shape, layer.S.shape, layer.V.shape) == ((12, 5), (5,), (12, 5))
    assert (layer.rank, layer.full_rank) == (5, 12)
    layer = FactoredLinear.of(nn.Linear(7, 5))
    assert (layer.U.shape, layer.V.shape, layer.rank, layer.full_rank) == ((5, 5), (7, 5), 5, 5)


@pytest.mark.parametrize("plain", [linear(), nn.Conv2d(4, 6, (3, 2)).double()], ids=["linear", "conv"])
def test_factors_are_a_singular_value_decomposition_whose_signs_are_fixed(plain):
    layer = form_of(plain)
    identity = torch.eye(layer.rank).double()
    torch.testing.assert_close(layer.U.T @ layer.U, identity, **ROUNDING)
    torch.testing.assert_close(layer.V.T @ layer.V, identity, **ROUNDING)
    torch.testing.assert_close(layer.S, torch.linalg.svdvals(layer.matrix()), **ROUNDING)
    greatest = layer.U.gather(0, layer.U.abs().argmax(0, keepdim=True))
    assert (greatest > 0).all()


def test_a_lower_rank_is_the_best_approximation():
    plain = linear(9, 8)
    sigma = torch.linalg.svdvals(plain.weight)
    for rank in range(1, 9):
        error = (FactoredLinear.of(plain, rank).weight - plain.weight).square().sum()
        torch.testing.assert_close(error, sigma[rank:].square().sum(), **ROUNDING)


@pytest.mark.parametrize("plain", [linear(), nn.Conv2d(4, 6, 3).double()], ids=["linear", "conv"])
def test_the_plain_layer_and_the_generator_stay_as_they_are(plain):
    before, state = copy.deepcopy(plain.state_dict()), torch.random.get_rng_state()
    layer = form_of(plain)
    with torch.no_grad():
        layer.bias.zero_()
    merged = layer.merged()
    assert torch.equal(torch.random.get_rng_state(), state)
    assert all(torch.equal(plain.state_dict()[key], value) for key, value in before.items())
    assert merged.bias is not layer.bias


@pytest.mark.parametrize("copied", ["deepcopy", "pickle", "save", "state dict"])
@pytest.mark.parametrize("plain", [linear(), convolution("reflect")], ids=["linear", "conv"])
def test_a_copy_computes_the_same(plain, copied):
    layer, h = form_of(plain, 3), maps(2, 7) if isinstance(plain, nn.Linear) else maps(2, 4, 7, 6)
    if copied == "deepcopy":
        again = copy.deepcopy(layer)
    elif copied == "pickle":
        again = pickle.loads(pickle.dumps(layer))
    elif copied == "save":
        torch.save(layer, file := io.BytesIO())
        file.seek(0)
        again = torch.load(file, weights_only=False)
    else:
        again = form_of(type(plain)(**arguments(plain)).double(), 3)
        again.load_state_dict(layer.state_dict())
    assert torch.equal(again(h), layer(h)) and again.U is not layer.U


def arguments(plain):
    linear, conv = ("in_features", "out_features"), ("in_channels", "out_channels", "kernel_size", "padding")
    names = linear if isinstance(plain, nn.Linear) else (*conv, "padding_mode")
    return {name: getattr(plain, name) for name in names}


def test_dtype_mode_and_what_learns_are_kept_there_and_back():
    plain = nn.Conv2d(3, 4, 3).to(torch.bfloat16).eval()
    plain.weight.requires_grad_(False)
    layer = FactoredConv2d.of(plain)
    assert {p.dtype for p in layer.parameters()} == {torch.bfloat16} and not layer.training
    assert [p.requires_grad for p in layer.parameters()] == [False, False, False, True]
    merged = layer.merged()
    assert merged.weight.dtype == torch.bfloat16 and not merged.training
    assert (merged.weight.requires_grad, merged.bias.requires_grad) == (False, True)


@pytest.mark.parametrize("kernel", [1, 3, (1, 3), (3, 1)])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_memory_format_is_kept(layout, kernel):
    plain = nn.Conv2d(4, 6, kernel).to(memory_format=layout)
    layer = FactoredConv2d.of(plain).to(memory_format=layout)
    h = torch.randn(2, 4, 7, 6).to(memory_format=layout)
    assert layer(h).is_contiguous(memory_format=layout) and plain(h).is_contiguous(memory_format=layout)
    assert layer.merged().weight.is_contiguous(memory_format=layout)
    torch.testing.assert_close(layer(h), plain(h), rtol=1e-4, atol=1e-5)  # float32


def test_a_layer_without_values_has_factors_without_values():
    layer = FactoredConv2d.of(nn.Conv2d(4, 6, 3, device="meta"), 0.5)
    assert layer.U.is_meta and layer.rank == 6
    assert layer(torch.empty(2, 4, 8, 8, device="meta")).shape == (2, 6, 6, 6)
    assert layer.merged().weight.shape == (6, 4, 3, 3)


def test_drawing_anew_draws_a_plain_layer_and_splits_it():
    for plain in (linear(), nn.Conv2d(4, 6, (3, 2)).double()):
        layer = form_of(plain)
        torch.manual_seed(5)
        layer.reset_parameters()
        torch.manual_seed(5)
        plain.reset_parameters()
        torch.testing.assert_close(layer.weight, plain.weight, **ROUNDING)
        assert torch.equal(layer.bias, plain.bias)
    layer = FactoredLinear.of(linear(bias=False), 2)
    layer.reset_parameters()
    assert layer.rank == 2 and layer.bias is None


def small():
    torch.manual_seed(0)
    conv = FactoredConv2d.of(nn.Conv2d(2, 4, 3, padding=1), 4)
    return nn.Sequential(conv, nn.ReLU(), nn.Flatten(), FactoredLinear.of(nn.Linear(4 * 25, 3), 2))


def gradients(network, call, h):
    network.zero_grad()
    call(h).float().square().sum().backward()
    return {name: p.grad.clone() for name, p in network.named_parameters()}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the compiler's own imports
def test_a_compiled_network_of_one_graph_learns_the_same():
    network, h = small(), torch.randn(3, 2, 5, 5)
    compiled = torch.compile(network, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(gradients(network, compiled, h), gradients(network, network, h))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("is_compiled", [False, True])
def test_half_precision_leaves_the_factors_in_full(is_compiled):
    network, h = small(), torch.randn(3, 2, 5, 5)
    call = torch.compile(network, fullgraph=True, backend="aot_eager") if is_compiled else network
    exact = gradients(network, network, h)
    with torch.autocast("cpu", torch.bfloat16):
        assert call(h).dtype == torch.bfloat16
        rough = gradients(network, call, h)
    for name, gradient in rough.items():
        assert gradient.dtype == torch.float32
        distance = (gradient - exact[name]).norm() / exact[name].norm()
        assert distance < 0.1, name  # bfloat16 has eight bits: 0.4 % a product, and five products follow each other


def test_half_precision_keeps_no_activity_in_full():
    layer, h, kept = FactoredLinear.of(nn.Linear(20, 16), 6), torch.randn(64, 20), []
    with (
        torch.autocast("cpu", torch.bfloat16),
        torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x),
    ):
        layer(h)
    assert {x.dtype for x in kept if len(x) == 64} == {torch.bfloat16}


def test_factors_laid_over_the_parameters_are_what_the_layer_computes_with():
    for layer, h in ((FactoredLinear.of(linear(), 3), maps(2, 7)), (small()[0].double(), maps(2, 2, 5, 5))):
        doubled = 2 * layer.S
        twice = 2 * (layer(h) - (bias := layer.bias if h.dim() == 2 else layer.bias[:, None, None])) + bias
        layer.__dict__["S"] = doubled
        torch.testing.assert_close(layer(h), twice, **ROUNDING)
        del layer.__dict__["S"]
