"""PredSim: the local loss of Nøkland & Eidnes (2019), against formulas written out entry by entry."""

from __future__ import annotations

from math import log

import pytest
import torch
from networks import CASES, batch, perceptron, residual, routed
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import Port, make_rule, trace
from rfmodel.routing.ends import ends
from rfmodel.routing.predsim import patches, similarities
from rfmodel.routing.topologies import Sites, sites_of

SHAPES = [(5, 1, 1), (3, 8, 8), (4, 9, 9), (4, 32, 32), (16, 7, 5), (64, 15, 15), (2, 31, 32)]


def cosine(a, b):
    """The cosine of two vectors, each less its mean."""
    a, b = a - a.sum() / len(a), b - b.sum() / len(b)
    return (a * b).sum() / (((a * a).sum().sqrt() + 1e-8) * ((b * b).sum().sqrt() + 1e-8))


def deviations(image):
    """The standard deviation over places of each channel, by n - 1."""
    rows = image.flatten(1)
    n = rows.shape[1]
    centred = rows - rows.sum(1, keepdim=True) / n
    return (centred.square().sum(1) / (n - 1)).sqrt()


def literal_similarity(features, labels, classes):
    """(1 / N^2) sum over i, j of (S_ij(features) - S_ij(labels))^2."""
    total, n = 0.0, len(labels)
    onehot = torch.eye(classes, dtype=torch.float64)[labels]
    for i in range(n):
        for j in range(n):
            total = total + (cosine(features[i], features[j]) - cosine(onehot[i], onehot[j])) ** 2
    return total / n**2


def literal_prediction(logits, labels):
    """-(1 / N) sum of the log-probabilities of the labels."""
    return -sum((row - row.exp().sum().log())[y] for row, y in zip(logits, labels, strict=True)) / len(labels)


def started(model):
    """Give classifiers that start at zero a value, so that what comes through them is seen."""
    for p in model.heads.parameters():
        p.data.copy_(torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel()), dtype=p.dtype) / 2)
    return model


@pytest.mark.parametrize("options", [{}, {"beta": 0.3}, {"loss": "pred"}, {"loss": "sim"}], ids=str)
def test_gradients_of_dense_units_are_those_of_the_formulas(options):
    images, labels = batch((7,), 3, 5)
    model = started(routed(perceptron(), {"*": make_rule("predsim", **options)}, images))
    model.zero_grad()
    nn.functional.cross_entropy(model(images, labels), labels).backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    beta = {"pred": 0.0, "sim": 1.0}.get(options.get("loss"), options.get("beta", 0.99))
    h, losses = images, []
    for name, key in (("one", "f1"), ("two", "f2"), ("three", "f3")):
        layer, head = model.network.get_submodule(name), model.heads[f"{key}/output"]
        h = torch.tanh(h.detach() @ layer.weight.T + layer.bias)
        if beta < 1:
            losses.append((1 - beta) * literal_prediction(h @ head.W.weight.T + head.W.bias, labels))
        if beta > 0:
            losses.append(beta * literal_similarity(h @ head.F.weight.T, labels, 3))
    losses.append(literal_prediction(model.network.out(h.detach()), labels))
    expected = torch.autograd.grad(sum(losses), list(model.parameters()))
    for gradient, true in zip(found.values(), expected, strict=True):
        torch.testing.assert_close(gradient, true, rtol=1e-9, atol=1e-13)  # sums in another order


@pytest.mark.parametrize("deviation", [True, False])
def test_gradients_of_maps_are_those_of_the_formulas(deviation):
    images, labels = batch((1, 6, 6), 5, 4)
    rule = make_rule("predsim", features=9, deviation=deviation)
    model = started(routed(CASES["retina"][0](), {"vvs.*": rule}, images))
    model.zero_grad()
    model(images, labels).sum().backward()
    network, head = model.network, model.heads["retina/relu2/output"]
    h = network.retina(images)
    # Patches of 2 x 2 leave 3 channels of 6 x 6 pixels 27 numbers, of 4 x 2 18, of 4 x 4 12, of 8 x 4 6.
    read = torch.stack([h[:, :, :, :3].sum((2, 3)), h[:, :, :, 3:].sum((2, 3))], 2) / 32
    features = head.F(h)  # three channels: too few for deviations
    logits = head.W(read.flatten(1))
    loss = 0.01 * literal_prediction(logits, labels)
    loss = loss + 0.99 * literal_similarity(features.flatten(1), labels, 5)
    found = [p.grad for p in (*network.retina.parameters(), *head.parameters())]
    expected = torch.autograd.grad(loss, [*network.retina.parameters(), *head.parameters()])
    for gradient, true in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, true, rtol=1e-9, atol=1e-13)


def test_maps_of_more_channels_are_compared_by_their_deviations_over_places():
    x = batch((5, 3, 4), 2, 4)[0]
    found = similarities(x)
    for i in range(4):
        for j in range(4):
            expected = cosine(deviations(x[i]), deviations(x[j]))
            torch.testing.assert_close(found[i, j], expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(similarities(x, deviation=False), similarities(x.flatten(1)))
    assert torch.equal(similarities(x[:, :3]), similarities(x[:, :3].flatten(1)))
    assert torch.equal(similarities(x[:, :, :1]), similarities(x[:, :, :1].flatten(1)))


def test_one_hot_labels_of_k_classes_have_cosines_1_and_minus_1_over_k_less_1():
    y = nn.functional.one_hot(torch.tensor([0, 2, 0, 3]), 4).double()
    same = torch.tensor([[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]], dtype=torch.float64)
    expected = same - (1 - same) / 3
    torch.testing.assert_close(similarities(y), expected, rtol=0, atol=4e-8)  # the 1e-8 beside each norm


def test_a_classifier_starts_at_zero_and_so_at_the_loss_log_classes():
    images, labels = batch((7,), 3)
    model = routed(perceptron(), {"*": make_rule("predsim", loss="pred")}, images)
    for head in model.heads.values():
        assert not head.W.weight.any() and not hasattr(head, "F")
        head.W.bias.data.zero_()
        h = torch.randn(9, head.W.in_features, dtype=torch.float64)
        assert head(h, nn.functional.one_hot(labels, 3)).item() == pytest.approx(log(3))


def test_a_sample_without_direction_learns_nothing_from_similarities():
    x = batch((4,), 3, 5)[0]
    x[2] = 0.7
    x.requires_grad_()
    S = similarities(x)
    (gradient,) = torch.autograd.grad(S.square().sum(), x)
    assert not S[2].any() and not gradient[2].any() and gradient.isfinite().all()


@pytest.mark.parametrize("features", [1, 10, 100, 4096])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_patches_leave_at_most_the_features_asked_for_or_one_a_channel(shape, features):
    pool, read = patches(shape, features)
    assert pool(torch.zeros(1, *shape)).numel() == read
    assert read <= max(features, shape[0])
    assert isinstance(pool, nn.Identity) == (shape[0] * shape[1] * shape[2] <= max(features, shape[0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"loss": "recon"}, "option loss of rule 'predsim': 'recon'"),
        ({"beta": 1.5}, "beta 1.5 of rule 'predsim' is impossible; use 0 to 1"),
        ({"beta": True}, "beta True of rule"),
        ({"features": 0}, "features 0 of rule 'predsim' is impossible"),
        ({"deviation": 1}, "deviation 1 of rule 'predsim' is no choice"),
        ({"units": "net"}, "option units of rule 'predsim': 'net'"),
    ],
    ids=str,
)
def test_options_that_cannot_be_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        make_rule("predsim", **options)


def test_a_pattern_at_which_no_unit_ends_is_refused():
    record = trace(residual(), torch.zeros(2, 1, 8, 8).double())
    inside = Port("layer1.0.conv2", "input")
    assert inside not in ends(record, sites_of(record, "*"))
    record = trace(perceptron(), torch.zeros(2, 7).double())
    with pytest.raises(InputError, match="no unit ends at '\\*': other rules have its sites"):
        ends(record, Sites((), "*"))


def test_the_deviation_of_a_map_that_is_even_is_nought_and_so_is_its_gradient():
    x = torch.ones(3, 5, 4, 4, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(similarities(x).sum(), x)
    assert not gradient.any()
