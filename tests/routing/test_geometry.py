"""Geometry: adjoints, outer products and matrices are those of torch's own layers, whatever their form."""

from __future__ import annotations

import pytest
import torch
from convolutions import CONVOLUTIONS, around, by_channels, convolution
from networks import assert_equal, batch, everywhere, gradients, into, routed, transposed, true_gradients
from oracles import convolution_matrix
from torch import nn

from rfmodel.routing import Convolution, Dense, Edge, Linear, Port, trace
from rfmodel.routing.placement import geometry_of

pytestmark = pytest.mark.filterwarnings("ignore:Using padding=.same. with even kernel")
LEADING = {"a batch": (5,), "tokens": (5, 3), "an image of tokens": (5, 2, 3), "five dimensions": (5, 2, 1, 3)}


def pulled_back(layer, h):
    """Return a random error at the layer's output, autograd's input gradient, and its weight gradient."""
    a = layer(h)
    delta = torch.randn(a.shape, generator=torch.Generator().manual_seed(3), dtype=a.dtype)
    return (delta, *torch.autograd.grad(a, (h, layer.weight), delta))


def own_geometry(layer, h):
    record = trace(nn.Sequential(nn.Identity(), layer), h)
    return geometry_of(Edge(Port("1", "output"), Port("1", "input")), record)


def input_of(shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64).requires_grad_()


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_adjoint_of_a_convolution_is_its_input_gradient(name):
    layer, h = convolution(name), input_of((3, 4, 7, 6))
    geometry = own_geometry(layer, h)
    delta, dh, _ = pulled_back(layer, h)
    assert torch.equal(geometry.adjoint(layer.weight, delta, h), dh)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_outer_product_of_a_convolution_is_its_weight_gradient(name):
    layer, h = convolution(name), input_of((3, 4, 7, 6))
    geometry = own_geometry(layer, h)
    delta, _, dW = pulled_back(layer, h)
    assert torch.equal(geometry.outer(h.detach(), delta, tuple(layer.weight.shape)), dW)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_the_forward_map_of_a_convolution_is_the_layer_without_its_bias(name):
    layer, h = convolution(name), input_of((3, 4, 7, 6))
    blank = layer(torch.zeros_like(h))
    torch.testing.assert_close(own_geometry(layer, h).forward(layer.weight, h), layer(h) - blank, rtol=0, atol=1e-14)


@pytest.mark.parametrize("make", [lambda: convolution("groups"), by_channels], ids=["two groups", "one channel each"])
def test_the_matrix_of_a_grouped_weight_is_nought_where_groups_do_not_meet(make):
    layer, h = make(), input_of((3, 4, 7, 6))
    geometry = own_geometry(layer, h)
    m, n, own = layer.out_channels, layer.in_channels, layer.in_channels // layer.groups
    explicit = torch.zeros(m, n, 3, 3).double()
    for i in range(m):
        for j in range(own):
            explicit[i, (i // (m // layer.groups)) * own + j] = layer.weight.data[i, j]
    assert torch.equal(geometry.dense(layer.weight.data), explicit.flatten(1))
    ungrouped = nn.functional.conv2d(h, explicit, layer.bias, padding=1)
    torch.testing.assert_close(layer(h), ungrouped, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_factors_over_all_channels_pull_back_as_their_product_does(name):
    layer, h = convolution(name), input_of((3, 4, 7, 6))
    geometry = own_geometry(layer, h)
    delta, _, _ = pulled_back(layer, h)
    P, Q = torch.randn(2, 6).double(), torch.randn(geometry.weight_shape(2)).double()
    B = (P.T @ Q.flatten(1)).reshape(geometry.weight_shape(6))
    factored = geometry.adjoint(Q, geometry.project(P, delta), h)
    torch.testing.assert_close(factored, geometry.adjoint(B, delta, h), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", LEADING)
def test_a_dense_layer_on_any_leading_dimensions_has_its_own_gradients(name):
    layer, h = nn.Linear(4, 6).double(), input_of((*LEADING[name], 4))
    geometry = own_geometry(layer, h)
    delta, dh, dW = pulled_back(layer, h)
    assert torch.equal(geometry.adjoint(layer.weight, delta, h), dh)
    assert torch.equal(geometry.outer(h.detach(), delta, (6, 4)), dW)
    assert torch.equal(geometry.rows(delta), delta.flatten(0, -2))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_moments_of_an_error_are_sums_over_batch_and_places(layout):
    torch.manual_seed(0)
    delta = torch.randn(3, 5, 4, 2).double().contiguous(memory_format=layout)
    P = torch.randn(2, 5).double()
    geometry, vectors = (
        Convolution(5, 4, (3, 3)),
        [delta[b, :, i, j] for b in range(3) for i in range(4) for j in (0, 1)],
    )
    y = geometry.project(P, delta)
    torch.testing.assert_close(geometry.rows(y), torch.stack([P @ v for v in vectors]))
    torch.testing.assert_close(geometry.correlate(y, delta), sum(torch.outer(P @ v, v) for v in vectors))
    mean, variance, count = geometry.spread(delta)
    torch.testing.assert_close(mean, torch.stack(vectors).mean(0))
    torch.testing.assert_close(variance, torch.stack(vectors).var(0, correction=0))
    assert count == 24


def test_the_moments_of_tokens_are_sums_over_batch_and_tokens():
    torch.manual_seed(0)
    delta, P = torch.randn(3, 4, 5).double(), torch.randn(2, 5).double()
    geometry, vectors = Linear(5, 7), [delta[b, t] for b in range(3) for t in range(4)]
    y = geometry.project(P, delta)
    torch.testing.assert_close(geometry.correlate(y, delta), sum(torch.outer(P @ v, v) for v in vectors))
    mean, variance, count = geometry.spread(delta)
    torch.testing.assert_close(mean, torch.stack(vectors).mean(0))
    torch.testing.assert_close(variance, torch.stack(vectors).var(0, correction=0))
    assert count == 12


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_dense_map_sends_each_class_its_own_image(layout):
    torch.manual_seed(0)
    geometry = Dense((3,), (2, 4, 5))
    B = torch.randn(3, 2, 4, 5).double().contiguous(memory_format=layout)
    like = torch.empty(6, 2, 4, 5).double().contiguous(memory_format=layout)
    e = torch.randn(6, 3).double()
    expected = torch.stack([sum(e[b, c] * B[c] for c in range(3)) for b in range(6)])
    delivered = geometry.adjoint(B, e, like)
    torch.testing.assert_close(delivered, expected)
    assert delivered.is_contiguous(memory_format=layout)
    h = torch.randn(6, 2, 4, 5).double()
    outer = sum(torch.einsum("c,nyx->cnyx", e[b], h[b]) for b in range(6))
    torch.testing.assert_close(geometry.outer(h, e, (3, 2, 4, 5)), outer)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_transposed_feedback_along_any_convolution_is_backpropagation(name):
    images, labels = batch((1, 7, 6), 3)
    model = transposed(routed(around(convolution(name)), everywhere("fa"), images))
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


def test_transposed_feedback_along_a_depthwise_convolution_is_backpropagation():
    images, labels = batch((1, 7, 6), 3)
    model = transposed(routed(around(by_channels()), everywhere("fa"), images))
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


@pytest.mark.parametrize("name", LEADING)
def test_transposed_feedback_along_a_dense_layer_on_any_leading_dimensions_is_backpropagation(name):
    torch.manual_seed(0)
    axes = len(LEADING[name])
    network = nn.Sequential(nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 6), nn.Tanh(), nn.Flatten()).double()
    network.append(nn.Linear(6 * torch.Size(LEADING[name][1:]).numel(), 3).double())
    images, labels = batch((*LEADING[name][1:], 7), 3)
    assert images.ndim == axes + 1
    model = transposed(routed(network, into("2", "fa"), images))
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


def test_convolutional_feedback_is_the_transpose_of_the_convolution_matrix():
    torch.manual_seed(0)
    geometry = Convolution(4, 3, (3, 3), padding=(1, 1))
    W, delta, like = torch.randn(4, 3, 3, 3), torch.randn(2, 4, 5, 5), torch.randn(2, 3, 5, 5)
    dense = convolution_matrix(W.double(), 5, 1)
    carried = geometry.adjoint(W.double(), delta.double(), like.double())
    torch.testing.assert_close(carried.reshape(2, -1), delta.double().reshape(2, -1) @ dense)
