"""Odd uses: networks and passes out of the ordinary give what theory says, or are refused by name."""

from __future__ import annotations

import pytest
import torch
from networks import CROSS_ENTROPY, assert_equal, everywhere, gradients, images_of_eight, into, mlp, perceptron, routed
from refusing import refused
from torch import nn
from torch.nn.utils.parametrizations import weight_norm
from torch.utils.checkpoint import checkpoint

from rfmodel.diagnostics import diagnose
from rfmodel.errors import InputError
from rfmodel.routing import Fixed, Rule, calibrate, layerwise, make_rule

X = torch.randn(5, 7, generator=torch.Generator().manual_seed(0)).double()


class Folded(nn.Module):
    """Tokens are samples in the middle layer: (b, t, n) -> (b t, n) -> (b, n)."""

    def __init__(self, time_first=False):
        super().__init__()
        self.time_first = time_first
        self.one, self.two, self.out = nn.Linear(4, 6), nn.Linear(6, 6), nn.Linear(6, 3)

    def forward(self, x):
        if self.time_first:
            return self.out(self.two(self.one(x.transpose(0, 1)).tanh()).mean(0))
        return self.out(self.two(self.one(x.flatten(0, 1)).tanh()).unflatten(0, x.shape[:2]).mean(1))


class Checkpointed(nn.Module):
    def __init__(self, reentrant):
        super().__init__()
        self.one, self.part, self.reentrant = nn.Linear(7, 6), nn.Sequential(nn.Linear(6, 5), nn.Tanh()), reentrant
        self.out = nn.Linear(5, 3)

    def forward(self, x):
        h = self.one(x).tanh()
        run = self.training  # as in most networks, so that a trace does not see it
        return self.out(checkpoint(self.part, h, use_reentrant=self.reentrant) if run else self.part(h))


@pytest.mark.parametrize("rule", ["fa", "dfa", "kolen_pollack"])
def test_targets_of_a_regression_are_observed_and_calibrated(rule):
    model, targets = routed(perceptron(), everywhere(rule), X), torch.randn(5, 3).double()
    loss = nn.functional.mse_loss
    assert_equal(model.observe(X, targets, loss).gradients, gradients(model, X, labels=targets, loss=loss))
    assert all(factor > 0 for factor in calibrate(model, [(X, targets)], loss).values())


def test_targets_that_are_no_classes_are_refused_by_rules_that_read_labels():
    model = routed(perceptron(), everywhere("drtp"), X)
    with pytest.raises(InputError, match=r"needs class indices; found \(5, 3\) of torch.float64"):
        model(X, torch.randn(5, 3).double())


@pytest.mark.parametrize("wrap", [lambda out: out[:, 0], lambda out: {"logits": out}, lambda out: (out, out)])
def test_layerwise_rules_need_no_matrix_of_logits(wrap):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = perceptron()

        def forward(self, x):
            return wrap(self.body(x))

    network = Wrapped()
    model = routed(network, everywhere("fa"), X)
    assert len(model.edges) == 3
    assert torch.is_tensor(model(X)) == torch.is_tensor(network(X))


@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_observing_between_a_forward_and_its_backward_pass_leaves_the_step_as_it_is(rule):
    images, labels = images_of_eight()
    alone, watched = (routed(mlp(), everywhere(rule), images) for _ in range(2))
    wanted = gradients(alone, images, labels=labels)
    loss = CROSS_ENTROPY(watched(images, labels), labels)
    watched.observe(images, labels)  # in train mode: batch norm's buffers are saved for the pass that waits
    loss.backward()
    assert_equal({name: p.grad for name, p in watched.network.named_parameters()}, wanted)


@pytest.mark.parametrize(
    ("rule", "options"),
    [("dfa", {}), ("drtp", {}), ("skip", {}), ("ldfa", {"rank": 2, "q": "hebbian"}), ("dldfa", {"rank": 2})],
)
def test_an_empty_batch_teaches_nothing(rule, options):
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3), nn.Flatten(), nn.Linear(12, 3))
    model = routed(network, everywhere(rule, **options), torch.zeros(2, 1, 6, 6))
    model(torch.zeros(0, 1, 6, 6).double(), torch.zeros(0, dtype=torch.long)).sum().backward()
    assert all((p.grad == 0).all() for p in network.parameters())


@pytest.mark.parametrize("time_first", [False, True])
def test_a_direct_edge_across_a_folded_batch_is_refused(time_first):
    example = torch.zeros(2, 5, 4)
    found = "5" if time_first else "10"
    message = f"edge 'network.output->two.input' joins 2 samples to {found}"
    refused(message, Folded(time_first), into("two", "dfa"), example)
    refused("nothing upstream learns", Folded(time_first), into("one", "fa"), example)
    model = routed(Folded(time_first), into("two", "fa"), example)  # along one layer there is nothing to join
    model(torch.zeros(3, 5, 4).double()).sum().backward()


def test_reentrant_checkpointing_which_would_lose_errors_is_refused():
    model = routed(Checkpointed(True).double(), into("part.0", "fa"), X)
    with pytest.raises(InputError, match="runs without gradients inside a pass that has them.*use_reentrant=False"):
        model(X)
    with model.exact() as plain:
        plain(X).sum().backward()
    model = routed(Checkpointed(False).double(), into("part.0", "fa"), X)
    model(X).sum().backward()
    assert model.network.one.weight.grad.abs().sum() > 0


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # the compiler's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("part", ["two", "out"])
@pytest.mark.parametrize("rule", ["dfa", "skip", "fa"])
def test_errors_pass_into_and_out_of_a_part_that_is_compiled(rule, part):
    torch._dynamo.reset()
    model, labels = routed(perceptron(), everywhere(rule), X), torch.arange(5) % 3
    wanted = gradients(model, X, labels=labels)
    model.network.get_submodule(part).compile(backend="aot_eager")
    assert_equal(gradients(model, X, labels=labels), wanted, rtol=1e-12, atol=1e-15)
    torch._dynamo.reset()


@pytest.mark.parametrize("rule", ["ldfa", "kolen_pollack"])
def test_a_pass_that_is_interrupted_leaves_nothing_for_the_next(rule):
    options = {"rank": 2, "q": "hebbian"} if rule == "ldfa" else {}
    model, labels = routed(perceptron(), everywhere(rule, **options), X), torch.arange(5) % 3
    gradients(model, X, labels=labels)
    wanted = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}

    def interrupt(*_):
        raise KeyboardInterrupt

    handle = model.network.out.register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(X, labels)
    handle.remove()
    gradients(model, X, labels=labels)
    assert_equal({name: p.grad for name, p in model.named_parameters() if p.grad is not None}, wanted)


def test_two_rules_over_one_network_keep_to_their_own_passes():
    labels, shared = torch.arange(5) % 3, perceptron()
    rules = [everywhere("ldfa", rank=2, q="hebbian"), everywhere("kolen_pollack")]
    both = [routed(shared, rule, X) for rule in rules]
    for model, rule in zip(both, rules, strict=True):
        alone = routed(perceptron(), rule, X)
        gradients(alone, X, labels=labels)
        gradients(model, X, labels=labels)
        for p, q in zip(model.parameters(), alone.parameters(), strict=True):
            torch.testing.assert_close(p.grad, q.grad, rtol=0, atol=0)


@pytest.mark.parametrize("weight", [0, -0.1, float("nan"), float("inf")])
def test_a_share_of_the_loss_that_cannot_be_is_refused(weight):
    model = routed(perceptron(), everywhere("ldfa", rank=2), X)
    model.loss_weight = weight
    with pytest.raises(InputError, match=f"loss_weight {weight} is impossible"):
        model(X)


def test_feedback_is_neither_calibrated_nor_diagnosed_where_it_is_out_of_force():
    model, labels = routed(perceptron(), everywhere("fa"), X), torch.arange(5) % 3
    with model.exact():
        with pytest.raises(InputError, match="calibration scales what a rule delivers; do it outside exact"):
            calibrate(model, [(X, labels)])
        with pytest.raises(InputError, match="diagnostics compare a rule .* outside exact"):
            diagnose(model, X, labels)


def test_a_glob_that_stands_behind_a_wider_one_is_refused():
    ldfa = make_rule("ldfa", rank=2)
    refused(
        r'rules."t\*": every site that it fits is taken by "\*", which stands before it; give the narrower',
        perceptron(),
        {"*": "fa", "t*": ldfa},
        X,
    )
    assert len(routed(perceptron(), {"t*": ldfa, "*": "fa"}, X).edges) == 3
    assert len(routed(perceptron(), {"*": "fa", "two": ldfa, "three": ldfa, "out": ldfa}, X).edges) == 3


@pytest.mark.parametrize(("rule", "options"), [("fa", {}), ("usf", {}), ("brsf", {}), ("ldfa", {"rank": 2})])
def test_a_map_that_would_deliver_nothing_for_good_is_refused(rule, options):
    network = perceptron()
    nn.init.zeros_(network.three.weight)
    refused("the weights of 'three' are all alike", network, everywhere(rule, **options), X)
    for grows in (make_rule("kolen_pollack"), make_rule("weight_mirror"), make_rule("ldfa", rank=2, q="hebbian")):
        assert len(routed(network, {"*": grows}, X).edges) == 3


@pytest.mark.parametrize("layer", [nn.Conv1d(3, 3, 3, padding=1), nn.ConvTranspose1d(3, 3, 1)])
@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_a_layer_without_routable_form_is_refused_by_its_name_too(layer, rule):
    network = nn.Sequential(nn.Linear(4, 8), nn.Unflatten(1, (1, 8)), nn.Conv1d(1, 3, 1), layer, nn.Flatten())
    network.append(nn.Linear(24, 3))
    refused(rf"covers '3' \({type(layer).__name__}\)", network, into("3", rule), torch.zeros(2, 4))


def test_a_normalised_weight_is_routed_as_a_plain_one_is():
    network = perceptron()
    for name in ("one", "two", "out"):
        weight_norm(network.get_submodule(name))
    model = routed(network, everywhere("fa"), X)
    for edge, feedback in model.maps.items():
        feedback.B.data.copy_(network.get_submodule(edge.target.module).weight)
    labels = torch.arange(5) % 3
    ours = gradients(model, X, labels=labels)
    with model.exact():
        assert_equal(ours, gradients(model, X, labels=labels), rtol=1e-12, atol=1e-15)


def test_an_effective_matrix_of_another_orientation_is_refused():
    class Transposed(Fixed):
        def effective(self):
            return self.B.detach().T

    class Failing(Fixed):
        def effective(self):
            raise ValueError("of two\nlines")

    for kind, found in ((Transposed, r"\(6, 5\)"), (Failing, "ValueError: of two lines")):
        rule = Rule("mine", layerwise, lambda plan, kind=kind: kind(plan.geometry, plan.std, plan.generator))
        refused(rf"{kind.__name__}.effective gives {found}; return B .* \(5, 6\)", perceptron(), {"two": rule}, X)


def test_the_mirror_of_a_frozen_layer_is_frozen():
    network = perceptron()
    network.three.weight.requires_grad_(False)
    model = routed(network, everywhere("kolen_pollack"), X)
    CROSS_ENTROPY(model(X), torch.arange(5) % 3).backward()
    learns = {edge.target.module: f.B.grad is not None for edge, f in model.maps.items()}
    assert learns == {"two": True, "three": False, "out": True}


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_factors_of_few_digits_are_decomposed(dtype):
    model = routed(perceptron(), everywhere("ldfa_normative", rank=2, refactor_every=1), X).to(dtype)
    model.advance()
    for feedback in model.maps.values():
        W = feedback.layer.weight.detach().double()
        best = torch.linalg.svdvals(W)[2:].norm()  # Eckart & Young
        assert (feedback.effective().double() - W).norm() <= best + 4 * torch.finfo(dtype).eps * W.norm()


def test_where_every_target_lies_beside_a_skip_the_refusal_says_so():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.out = nn.Linear(7, 4), nn.Linear(4, 4), nn.Linear(8, 3)

        def forward(self, x):
            h = self.one(x).tanh()  # by no module: nothing can be delivered before the skip
            return self.out(torch.cat([h, self.two(h)], 1))

    refused("two, out cannot be taught directly: .* a skip beside each", Joined().double(), everywhere("dfa"), X)
