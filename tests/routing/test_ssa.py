"""SSA against its loss written out: eqs. 1 to 11 on small networks in float64, and the limits that the algebra sets."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from rfmodel.errors import InputError
from rfmodel.factors import factored
from rfmodel.routing import Edge, Port, Routed, make_rule
from rfmodel.routing.ssa import COEFFICIENTS

ONLY_CE = {"ce": 1.0, "cosine": 0.0, "align": 0.0, "ortho": 0.0, "hoyer": 0.0}
CONSTANT = {"kind": "constant"}


def dense(sizes=(7, 6, 5, 4), nonlinearity=nn.ReLU):
    torch.manual_seed(0)
    layers = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nonlinearity()]
    return nn.Sequential(*layers[:-1]).double()


def convolutional():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 6, (3, 2), stride=2), nn.Tanh(),
        nn.Flatten(), nn.Linear(12, 5),
    ).double()  # fmt: skip


def batch(shape=(7,), classes=4, size=8):
    generator = torch.Generator().manual_seed(2)
    images = torch.randn(size, *shape, dtype=torch.float64, generator=generator)
    return images, torch.randint(classes, (size,), generator=generator)


def laid(network, shape, rule="ssa", **options):
    options.setdefault("schedule", CONSTANT)
    routed = Routed(network, {"*": make_rule(rule, **options)}, torch.zeros(2, *shape, dtype=torch.float64), epochs=10)
    routed.double()
    perturb(routed)
    return routed


def perturb(routed):
    """Move the factors off the manifold and their signs about, so that no term vanishes by chance."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in routed.network.parameters():
            p.add_(0.05 * torch.randn(p.shape, dtype=p.dtype, generator=generator))


def gradients(routed, images, labels):
    routed.zero_grad()
    nn.functional.cross_entropy(routed(images, labels), labels).backward()
    return {name: p.grad.clone() for name, p in routed.network.named_parameters()}


def convolved_twin(layer, R, e, B_U, B_S, B_V, target):
    """B_U B_S B_V^T, reshaped to one kernel, on the lifted error, as plainly as it can be written."""
    K = ((B_U * B_S) @ B_V.T).reshape(layer.out_channels, layer.kernel_size[1], layer.in_channels, -1)
    lifted = torch.einsum("bk,kchw->bchw", e, R)
    return nn.functional.conv2d(lifted, K.permute(0, 2, 3, 1), padding="same").reshape(target.shape)


def signal_of(routed, edge, e, target):
    feedback = routed.maps[edge]
    if type(feedback).__name__ == "Own":
        return e
    if type(feedback).__name__ == "Broadcast":
        return torch.einsum("bk,k...->b...", e, feedback.B.detach()).reshape(target.shape)
    B_U, B_S, B_V = (B.detach() for B in feedback.loss.maps)
    layer, R = feedback.loss.layer, feedback.R.detach()
    if isinstance(layer, nn.Conv2d):
        return convolved_twin(layer, R, e, B_U, B_S, B_V, target)
    return e @ R @ ((B_U * B_S) @ B_V.T).T


def literal(routed, images, labels, c, towards="error", reduction="sum", hoyer_smoothing=1e-3, aligns="weights"):
    """The local losses of all units, eq. 6, with the error and its signals held fixed; their autograd gradients."""
    parts = list(routed.network)
    targets = {edge.target: edge for edge in routed.edges}
    h, units = images, {}
    for i, module in enumerate(parts):
        for port in (Port(str(i), "input"), Port(str(i), "output")):
            if port.side == "output":
                h = module(h)
            if port in targets:
                units[port] = h
                h = h.detach()
    e = torch.softmax(h, 1).detach() - nn.functional.one_hot(labels, h.shape[1])
    share = 1.0 if reduction == "sum" else 1 / len(images)
    total = 0.0
    for port, activity in units.items():
        s = signal_of(routed, targets[port], e, activity).detach()
        total = total + c["ce"] * share * (s * activity).sum()
        aim = s if towards == "error" else -s
        cos = nn.functional.cosine_similarity(activity.flatten(1), aim.flatten(1), dim=1)
        total = total + c["cosine"] * (1 - cos).mean()
    for loss in routed.losses.values():
        U, S, V = loss.layer.U, loss.layer.S, loss.layer.V
        eye = torch.eye(len(S), dtype=S.dtype)
        total = total + c["ortho"] * ((U.T @ U - eye).square().sum() + (V.T @ V - eye).square().sum())
        total = total + c["hoyer"] * (S.square() + hoyer_smoothing**2).sqrt().sum() / S.norm()
        pairs = zip((U, S, V), loss.maps, strict=True)
        if aligns != "feedback":
            total = total + c["align"] * sum((own - B.detach()).square().sum() for own, B in pairs)
    named = dict(routed.network.named_parameters())
    return dict(zip(named, torch.autograd.grad(total, named.values()), strict=True))


def agree(found, asked):
    assert set(found) == set(asked)
    for name, gradient in asked.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-9, atol=1e-11, msg=name)


@pytest.mark.parametrize("feedback", ["twin", "dense"])
@pytest.mark.parametrize("at", ["activity", "preactivation"])
@pytest.mark.parametrize(("towards", "reduction"), [("error", "sum"), ("descent", "mean")])
def test_one_backward_pass_descends_the_local_losses_of_all_units(feedback, at, towards, reduction):
    images, labels = batch()
    routed = laid(dense(), (7,), feedback=feedback, at=at, towards=towards, reduction=reduction)
    asked = literal(routed, images, labels, COEFFICIENTS, towards, reduction)
    agree(gradients(routed, images, labels), asked)


@pytest.mark.parametrize("feedback", ["twin", "dense"])
def test_a_convolution_descends_the_same_losses_through_its_pool_and_what_is_laid_flat(feedback):
    images, labels = batch((2, 8, 6), 5)
    network = nn.Sequential(*convolutional()[:3], nn.Conv2d(4, 6, 3, padding=1), nn.Tanh(), nn.Flatten(),
                            nn.Linear(72, 5)).double()  # fmt: skip
    if feedback == "twin":  # laid flat, maps are taken to be square
        images = batch((2, 6, 6), 5)[0]
        network[-1] = nn.Linear(54, 5).double()
    routed = laid(network, tuple(images.shape[1:]), feedback=feedback)
    agree(gradients(routed, images, labels), literal(routed, images, labels, COEFFICIENTS))


def test_an_even_kernels_signal_keeps_the_size_with_the_odd_row_and_column_of_zeros_last():
    network = nn.Sequential(nn.Conv2d(2, 3, (2, 4)), nn.Tanh(), nn.Flatten(), nn.Linear(60, 5)).double()
    routed = laid(network, (2, 6, 7), at="preactivation")
    twin = routed.maps[routed.edges[0]]
    e = batch((5,))[0]
    B_U, B_S, B_V = (B.detach() for B in twin.loss.maps)
    K = ((B_U * B_S) @ B_V.T).reshape(3, 4, 2, 2).permute(0, 2, 3, 1)
    lifted = torch.einsum("bk,kchw->bchw", e, twin.R)
    asked = nn.functional.conv2d(nn.functional.pad(lifted, (1, 2, 0, 1)), K)
    torch.testing.assert_close(twin.signal(e, torch.empty(8, 3, 5, 4), *twin.given()), asked, rtol=1e-12, atol=1e-13)


def test_alignment_of_the_feedback_moves_the_feedback_alone():
    images, labels = batch()
    routed = laid(dense(), (7,), aligns="feedback")
    agree(gradients(routed, images, labels), literal(routed, images, labels, COEFFICIENTS, aligns="feedback"))
    for loss in routed.losses.values():
        for own, B in zip((loss.layer.U, loss.layer.S, loss.layer.V), loss.maps, strict=True):
            torch.testing.assert_close(B.grad, 2 * COEFFICIENTS["align"] * (B - own).detach())
    learnt = {id(p) for p in routed.feedback_parameters(as_weights=False)}
    assert learnt == {id(B) for loss in routed.losses.values() for B in loss.maps}


def test_alignment_of_both_moves_them_towards_each_other():
    images, labels = batch()
    routed = laid(dense(), (7,), aligns="both")
    agree(gradients(routed, images, labels), literal(routed, images, labels, COEFFICIENTS))
    loss = next(iter(routed.losses.values()))
    torch.testing.assert_close(loss.B_U.grad, 2 * COEFFICIENTS["align"] * (loss.B_U - loss.layer.U).detach())


def test_true_jacobians_make_the_error_of_the_factors_that_of_backpropagation():
    # A linear network: the product of the later weights is the Jacobian of the output, whatever the images.
    images, labels = batch()
    network = nn.Sequential(nn.Linear(7, 6), nn.Linear(6, 5), nn.Linear(5, 4)).double()
    routed = laid(network, (7,), feedback="dense", coefficients=ONLY_CE, reduction="mean")
    W1, W2 = network[1].weight.detach(), network[2].weight.detach()
    with torch.no_grad():
        routed.maps[routed.edges[0]].B.copy_(W2 @ W1)
        routed.maps[routed.edges[1]].B.copy_(W2)
    found = gradients(routed, images, labels)
    with routed.exact():
        agree(found, gradients(routed, images, labels))


def test_the_error_alone_is_dfa_pulled_through_the_factors():
    images, labels = batch()
    routed = laid(dense(), (7,), feedback="dense", coefficients=ONLY_CE, reduction="mean")
    plain = Routed(dense(), {"*": make_rule("dfa")}, images[:2])
    with torch.no_grad():
        for name, layer in factored(routed.network).items():
            plain.network.get_submodule(name).weight.copy_(layer.weight)
            plain.network.get_submodule(name).bias.copy_(layer.bias)
        for edge, feedback in plain.maps.items():
            feedback.B.copy_(routed.maps[edge].B)
    found = gradients(routed, images, labels)
    nn.functional.cross_entropy(plain(images, labels), labels).backward()
    for name, layer in factored(routed.network).items():
        dW = plain.network.get_submodule(name).weight.grad
        for factor, asked in (("U", dW @ layer.V * layer.S), ("V", dW.T @ layer.U * layer.S)):
            torch.testing.assert_close(found[f"{name}.{factor}"], asked.detach(), rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(
            found[f"{name}.S"], (layer.U * (dW @ layer.V)).sum(0).detach(), rtol=1e-9, atol=1e-12
        )


def test_projected_gradients_lie_in_the_tangent_space_but_for_the_orthogonality_term():
    images, labels = batch()
    coefficients = COEFFICIENTS | {"ortho": 0.0}
    routed = Routed(dense(), {"*": make_rule("ssa", project="stiefel", coefficients=coefficients, schedule=CONSTANT)},
                    images[:2], epochs=3).double()  # fmt: skip
    for loss in routed.losses.values():
        loss.layer.U.data, loss.layer.V.data = (torch.linalg.qr(f.data)[0] for f in (loss.layer.U, loss.layer.V))
    gradients(routed, images, labels)
    for loss in routed.losses.values():
        for U in (loss.layer.U, loss.layer.V):
            A = U.detach().T @ U.grad
            torch.testing.assert_close(A, -A.T, rtol=0, atol=1e-12)


def test_the_printed_projection_leaves_a_square_basis_where_it_is():
    # I - U U^T of a square orthonormal U is nought: at full rank the smaller side of each matrix does not learn.
    images, labels = batch()
    rule = make_rule("ssa2025", coefficients=COEFFICIENTS | {"ortho": 0.0}, schedule=CONSTANT)
    routed = Routed(dense(), {"*": rule}, images[:2], epochs=3).double()
    for loss in routed.losses.values():
        loss.layer.U.data, loss.layer.V.data = (torch.linalg.qr(f.data)[0] for f in (loss.layer.U, loss.layer.V))
    found = gradients(routed, images, labels)
    for name, layer in factored(routed.network).items():
        for factor in ("U", "V"):
            if len(set(getattr(layer, factor).shape)) == 1:
                assert found[f"{name}.{factor}"].abs().max() < 1e-13
        assert found[f"{name}.S"].abs().max() > 1e-4


def test_losses_act_once_an_update_however_the_batch_is_split():
    images, labels = batch(size=8)
    routed = laid(dense(), (7,), coefficients=COEFFICIENTS | {"cosine": 0.0}, reduction="mean")
    whole = gradients(routed, images, labels)
    routed.zero_grad()
    routed.loss_weight = 1 / len(images)
    for part in (slice(0, 3), slice(3, 8)):
        loss = nn.functional.cross_entropy(routed(images[part], labels[part]), labels[part], reduction="sum")
        (loss / len(images)).backward()
    agree({name: p.grad for name, p in routed.network.named_parameters()}, whole)


def test_the_hoyer_term_acts_in_the_epochs_that_the_schedule_names():
    images, labels = batch()
    schedule = {"kind": "energy", "every": 5, "energy": 1.0}
    with_it, without = (COEFFICIENTS | {"hoyer": value} for value in (0.5, 0.0))
    routed, plain = (laid(dense(), (7,), coefficients=c, schedule=schedule) for c in (with_it, without))
    for epoch, acts in ((1, False), (4, False), (5, True), (6, False)):
        routed.start_epoch(epoch), plain.start_epoch(epoch)
        plain.network.load_state_dict(routed.network.state_dict())
        found, asked = (gradients(one, images, labels) for one in (routed, plain))
        assert all(torch.equal(found[n], asked[n]) for n in found if not n.endswith("S"))
        assert (not torch.equal(found["0.S"], asked["0.S"])) == acts


def test_sphere_brings_columns_to_length_one_and_retraction_notes_the_drift_before_it():
    images, labels = batch()
    for options in ({"project": "sphere"}, {"retract_every": 2}):
        routed = laid(dense(), (7,), **options)
        optimiser = torch.optim.SGD(routed.network.parameters(), lr=0.01)
        for step in (1, 2):
            gradients(routed, images, labels)
            optimiser.step()
            before = {name: loss._drift() for name, loss in routed.losses.items()}
            routed.advance([optimiser])
            for name, loss in routed.losses.items():
                U = loss.layer.U.detach()
                if "project" in options:
                    torch.testing.assert_close(U.norm(dim=0), torch.ones_like(loss.layer.S))
                elif step == 2:
                    torch.testing.assert_close(U.T @ U, torch.eye(U.shape[1], dtype=U.dtype))
                    assert loss.readings()["factor_drift"] == pytest.approx(float(before[name])) and before[name] > 1e-3


def test_exact_gradients_are_those_of_the_factored_network():
    images, labels = batch()
    routed = laid(dense(), (7,))
    with routed.exact():
        found = gradients(routed, images, labels)
    nn.functional.cross_entropy(routed.network(images), labels).backward()
    routed.zero_grad()
    nn.functional.cross_entropy(routed.network(images), labels).backward()
    agree(found, {name: p.grad for name, p in routed.network.named_parameters()})


def test_the_forward_pass_of_training_is_the_factored_networks_own():
    images, labels = batch((2, 8, 8), 5)
    network = convolutional()
    before = network(images)
    routed = Routed(network, {"*": make_rule("ssa2024", feedback="dense")}, images[:2], epochs=10).double()
    torch.testing.assert_close(network(images), before, rtol=1e-12, atol=1e-12)
    assert torch.equal(routed(images, labels), network(images))


def test_the_output_layers_error_is_its_own():
    routed = laid(dense(), (7,), coefficients=ONLY_CE, reduction="mean")
    assert routed.edges[-1] == Edge(Port("", "output"), Port("4", "output"))
    images, labels = batch()
    found = gradients(routed, images, labels)
    with routed.exact():
        true = gradients(routed, images, labels)
    for name in ("4.U", "4.S", "4.V", "4.bias"):
        torch.testing.assert_close(found[name], true[name], rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"coefficients": {"ce": 0.1}}, "lack cosine, align, ortho, hoyer"),
        ({"coefficients": COEFFICIENTS | {"align": -0.1}}, "coefficient align = -0.1"),
        ({"coefficients": COEFFICIENTS | {"aling": 0.1}}, "coefficient 'aling'.*align"),
        ({"coefficients": [0.1]}, "no table"),
        ({"schedule": {"energy": 1.5}}, "energy 1.5"),
        ({"schedule": {"floor": 0}}, "floor 0 .*zero"),
        ({"schedule": {"until": 3}}, "until"),
        ({"schedule": 3}, "schedule 3"),
        ({"rank": 0}, "rank 0"),
        ({"rank": 1.5}, "rank 1.5"),
        ({"project": "orthogonal"}, "orthogonal"),
        ({"feedback": "lifted"}, "lifted"),
        ({"start": "svd"}, "svd"),
        ({"aligns": "none"}, "none"),
        ({"at": "output"}, "output"),
        ({"towards": "target"}, "target"),
        ({"reduction": "max"}, "max"),
        ({"retract_every": -1}, "retract_every -1"),
        ({"smoothing": 0.0}, "smoothing 0.0"),
        ({"scale": 0}, "scale 0"),
        ({"svd_iterations": -1}, "svd_iterations -1"),
        ({"moments": "drop"}, "drop"),
    ],
)
def test_options_that_cannot_be_are_named(options, told):
    with pytest.raises(InputError, match=told):
        make_rule("ssa", **options)


@pytest.mark.parametrize(
    ("options", "told"),
    [({"ortho": -1}, "ortho -1"), ({"hoyer": float("nan")}, "hoyer nan"), ({"rule": 3}, "rule = 3"),
     ({"rule": "ssa"}, "'ssa' has layers"), ({"rule": "pepita"}, "'pepita' has .* a step of its own"),
     ({"rule": {"rank": 2}}, "names no rule")],
)  # fmt: skip
def test_options_of_svd_that_cannot_be_are_named(options, told):
    with pytest.raises(InputError, match=told):
        make_rule("svd", **options)
