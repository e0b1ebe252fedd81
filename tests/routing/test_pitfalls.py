"""What other implementations of these rules were found to get wrong, one test each: networks, layers and modes."""

from __future__ import annotations

import pytest
import torch
from networks import (
    ARCHITECTURES,
    CASES,
    CROSS_ENTROPY,
    assert_equal,
    batch,
    everywhere,
    gradients,
    images_of_eight,
    into,
    residual,
    retina,
    routed,
    true_gradients,
)
from properties import EARLY, TABLE, rule, sites
from steps import do_step, lay, optimisers_of
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import RULES, Routed

cases = pytest.mark.parametrize("case", TABLE)


@cases
def test_weights_are_trained(case):
    # biotorch: a constraint recreates the weight in the forward pass, and what the optimiser holds never trains.
    model, images, labels = lay(case)
    before = {name: p.detach().clone() for name, p in model.network.named_parameters()}
    do_step(model, images, labels, optimisers_of(model, 0.1))
    for name, p in model.network.named_parameters():
        assert p.grad.any()
        torch.testing.assert_close(p.detach(), before[name] - 0.1 * p.grad, rtol=1e-12, atol=1e-16)
    plain = retina()
    plain.load_state_dict(model.network.state_dict())
    assert torch.equal(model(images, labels), plain(images))  # what the optimiser moved is what the network uses


@pytest.mark.parametrize("name", ["dfa", "sparse_dfa", "drtp", "dldfa"])
def test_a_direct_error_in_a_feature_map_varies_over_space(name):
    # biotorch: the error is repeated over the image.
    images, labels = batch((1, 6, 6), 5)
    options = {"dldfa": {"rank": 2}, "sparse_dfa": {"density": 0.4}}.get(name, {})
    model = routed(retina(), into("retina", name, **options), images)
    (delta,) = model.teaching_signals(images, labels).values()
    assert delta.var(dim=(2, 3)).mean() > 0.5 * delta.var()


def test_direct_errors_do_not_add_up_through_skips():
    # biotorch: the norm at the first block was 20.8 where its own error has 13.6. Here each is its own.
    images, labels = images_of_eight()
    model = routed(residual(), everywhere("dfa"), images)
    alone = model.observe(images, labels)
    for edge in model.edges:
        (own,) = (sent for other, sent in alone.delivered.items() if other.target == edge.target)
        assert float(alone.signals[edge.target].norm()) == pytest.approx(float(own.norm()), rel=1e-12)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.attend, self.out = (
            nn.Linear(3, 4),
            nn.MultiheadAttention(4, 2, batch_first=True),
            nn.Linear(4, 2),
        )

    def forward(self, x):
        h = self.embed(x)
        return self.out(self.attend(h, h, h)[0].mean(1))


@pytest.mark.parametrize("name", sorted(set(RULES) - {"partition", "bp"}))
def test_attention_that_cannot_be_routed_is_refused_and_not_left_to_backpropagation(name):
    # biotorch: MultiheadAttention is marked converted and still backpropagates.
    with pytest.raises(InputError, match="covers 'attend' .MultiheadAttention., whose error cannot be routed"):
        Routed(Attention(), everywhere(name, **({"rank": 1} if "ldfa" in name else {})), torch.zeros(2, 5, 3))


def odd_network():
    """Convolutions and tokens that other implementations crash on or ignore: groups, padding same, circular."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, bias=False),
        nn.Tanh(),
        nn.Conv2d(4, 4, 3, groups=2, padding="same"),
        nn.Tanh(),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
        nn.Tanh(),
        nn.Conv2d(4, 6, 3, padding="same"),
        nn.Flatten(2),
        nn.Linear(16, 3),
        nn.Tanh(),
        nn.Flatten(),
        nn.Linear(18, 5, bias=False),
    ).double()


@cases
def test_three_dimensions_groups_and_every_padding_work_in_every_rule(case):
    images, labels = batch((1, 6, 6), 5)
    model = routed(odd_network(), {"4" if sites(case) == "early" else "*": rule(case)}, images)
    optimisers = optimisers_of(model, 0.01)
    do_step(model, images, labels, optimisers)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.network.parameters())
    assert all(p.grad.isfinite().all() for p in model.feedback_parameters())


def test_circular_padding_is_not_ignored():
    images, _ = batch((1, 6, 6), 5)
    model = routed(odd_network(), into("4", "fa"), images)
    (feedback,) = model.maps.values()
    delta = torch.zeros(1, 4, 4, 4).double()
    delta[0, 0, 0, 0] = 1.0
    carried = feedback.carry(delta, torch.zeros(1, 4, 4, 4).double(), feedback.B)
    assert carried[0, :, 3, 3].any()  # round the corner
    torch.testing.assert_close(carried.abs().sum(), feedback.B[0].abs().sum(), rtol=1e-12, atol=0)  # no tap is lost


@cases
def test_training_runs_under_bf16_autocast(case):
    images, labels = batch((1, 6, 6), 5)
    make = CASES["retina"][0]
    model = Routed(make().float(), {EARLY["retina"] if sites(case) == "early" else "*": rule(case)}, images.float())
    with torch.autocast("cpu", torch.bfloat16):
        output = model(images.float(), labels)
    CROSS_ENTROPY(output.float(), labels).backward()
    trained = [*model.network.parameters(), *model.feedback_parameters()]
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in trained)


def test_an_activation_that_works_in_place_is_refused_by_name():
    network = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True), nn.Linear(4, 2))
    with pytest.raises(InputError, match="module '1' works in place.*use inplace=False"):
        Routed(network, everywhere("fa"), torch.zeros(2, 3))


@pytest.mark.parametrize("name", ["fa", "dfa", "ldfa"])
def test_modes_are_left_alone_and_dropout_is_on_in_training_only(name):
    # LDFA: in some versions the trainer stays in eval mode after the first epoch.
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(7, 6), nn.Dropout(0.5), nn.Tanh(), nn.Linear(6, 3)).double()
    images, labels = batch((7,), 3)
    model = routed(network, everywhere(name, **({"rank": 2} if name == "ldfa" else {})), images)
    model.train()
    assert not torch.equal(model(images, labels), model(images, labels))
    model.observe(images, labels)
    with model.exact():
        pass
    model.start_epoch(2)
    model.advance()
    assert all(module.training for module in model.modules())
    model.eval()
    assert torch.equal(model(images, labels), model(images, labels))
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["fa", "dfa", "ldfa"])
def test_batch_statistics_are_those_of_backpropagation(name):
    images, labels = images_of_eight()
    model = routed(residual(), everywhere(name, **({"rank": 2} if name == "ldfa" else {})), images)
    plain = residual()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    CROSS_ENTROPY(plain(images), labels).backward()
    for a, b in zip(model.network.buffers(), plain.buffers(), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_baseline_is_backpropagation(name):
    # LDFA: the retina's "BP" baseline builds the rank-32 network.
    images, labels = images_of_eight()
    model = routed(ARCHITECTURES[name](), {}, images)
    assert not model.routes_errors
    assert list(model.feedback.parameters()) == []
    assert_equal(gradients(model, images, labels=labels), true_gradients(model, images, labels))


def test_fields_in_the_input_follow_the_true_jacobian_only_in_exact_mode():
    images, labels = batch((1, 6, 6), 5)
    model = routed(retina(), everywhere("fa"), images)
    image = images[:1].clone().requires_grad_()
    (true,) = torch.autograd.grad(retina()(image)[0, 0], image)
    with model.exact() as network:
        (exact,) = torch.autograd.grad(network(image)[0, 0], image)
    (routed_field,) = torch.autograd.grad(model(image)[0, 0], image)
    assert torch.equal(exact, true)
    assert not torch.allclose(routed_field, true, rtol=0.1)


def test_an_error_delivered_beside_a_skip_leaves_what_the_skip_carries():
    # DRTP: a hook that replaces an input's total gradient drops the skip. With B = 0 the skips alone are left.
    images, labels = images_of_eight()
    model = routed(residual(), everywhere("fa"), images)
    for edge, feedback in model.maps.items():
        if edge.target.module.startswith("layer"):
            feedback.B.data.zero_()
        else:
            feedback.B.data.copy_(feedback.layer.weight.data)
    found = gradients(model, images, labels=labels)
    plain = residual()
    for stage in (plain.layer1, plain.layer2, plain.layer3):
        for block in stage:
            block.conv1.register_forward_pre_hook(lambda _, args: (args[0].detach(),))
    CROSS_ENTROPY(plain(images), labels).backward()
    assert plain.conv1.weight.grad.any()
    torch.testing.assert_close(found["conv1.weight"], plain.conv1.weight.grad, rtol=1e-12, atol=1e-18)
