"""What is held at once: units that learn as they end and are freed, and direct errors, made one at a time."""

from __future__ import annotations

import gc
import weakref
from contextlib import nullcontext

import pytest
import torch
from networks import CASES, CROSS_ENTROPY, Checkpointed, accumulated, assert_equal, batch, residual_blocks, routed
from properties import WITHOUT_EDGES, rule
from torch import nn
from torch.utils.checkpoint import checkpoint

from rfmodel.costs import memory
from rfmodel.routing import Routed, make_rule

NETS = {**CASES, "residual": (residual_blocks, lambda n=9: batch((1, 8, 8), 3, n))}
LOCAL = [case for case in WITHOUT_EDGES if not case.startswith("pepita")]


def lay(case, kind):
    make, data = NETS[kind]
    images, labels = data()
    return routed(make(), {"*": rule(case)}, images).train(), images, labels


class Peak:
    """The most bytes that autograd keeps at once, parameters left out."""

    def __init__(self, model):
        self.own = {p.untyped_storage()._cdata for p in (*model.parameters(), *model.buffers())}
        self.living, self.most = weakref.WeakSet(), 0

    def pack(self, tensor):
        kept = Kept(tensor)
        self.living.add(kept)
        sizes = {k.tensor.untyped_storage()._cdata: k.tensor.untyped_storage().nbytes() for k in self.living}
        self.most = max(self.most, sum(size for key, size in sizes.items() if key not in self.own))
        return kept


class Kept:
    def __init__(self, tensor):
        self.tensor = tensor


def held_at_once(model, images, labels, freeing):
    peak = Peak(model)
    with torch.autograd.graph.saved_tensors_hooks(peak.pack, lambda kept: kept.tensor):
        with model.freeing_units() if freeing else nullcontext():
            output = model(images, labels)
        most = peak.most
        CROSS_ENTROPY(output, labels).backward()
    return most


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("case", LOCAL)
def test_gradients_are_the_same_to_the_last_bit(case, kind):
    model, images, labels = lay(case, kind)
    expected = accumulated(model, images, labels, [9])
    with model.freeing_units():
        assert_equal(accumulated(model, images, labels, [9]), expected)


@pytest.mark.parametrize("case", ["predsim", "auglocal"])
def test_accumulated_gradients_are_the_same_too(case):
    model, images, labels = lay(case, "retina")
    expected = accumulated(model, images, labels, [2, 7])
    with model.freeing_units():
        assert_equal(accumulated(model, images, labels, [2, 7]), expected)


def test_under_autocast_and_with_dropout_gradients_are_the_same():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten()]
    images, labels = torch.randn(9, 1, 8, 8), torch.arange(9) % 3
    model = Routed(nn.Sequential(*layers, nn.Linear(64, 3)), {"*": "predsim"}, images).train()
    found = []
    for freeing in (False, True):
        model.zero_grad()
        torch.manual_seed(1)
        with torch.autocast("cpu", torch.bfloat16), model.freeing_units() if freeing else nullcontext():
            output = model(images, labels)
        CROSS_ENTROPY(output.float(), labels).backward()
        found.append({name: p.grad.clone() for name, p in model.named_parameters()})
    assert model.frees_units and found[0]["network.0.weight"].any()
    assert_equal(*found)


def test_factored_layers_with_losses_of_their_own_learn_the_same():
    make, data = NETS["retina"]
    images, labels = data()
    model = Routed(make(), {"*": make_rule("svd", rule="predsim")}, images, epochs=3).train()
    assert model.local and model.frees_units
    expected = accumulated(model, images, labels, [9])
    with model.freeing_units():
        assert_equal(accumulated(model, images, labels, [9]), expected)


# Of several units, from the midst of one to that of another, two that meet there, and with the last cut and the output.
PARTS = [[(0, 4)], [(1, 6)], [(1, 3), (3, 5)], [(4, 7)], [(0, 7)]]


@pytest.mark.parametrize("parts", PARTS, ids=str)
@pytest.mark.parametrize("case", ["predsim", "auglocal"])
def test_units_that_are_run_again_in_a_backward_pass_learn_once(case, parts):
    make, data = NETS["perceptron"]
    images, labels = data()
    layers = list(make().children())
    for first, last in reversed(parts):
        layers[first:last] = [Checkpointed(nn.Sequential(*layers[first:last]))]
    model = routed(nn.Sequential(*layers), {"*": rule(case)}, images).train()
    expected = accumulated(model, images, labels, [9])
    assert model.frees_units
    with model.freeing_units():
        assert_equal(accumulated(model, images, labels, [9]), expected)


def test_a_model_that_is_run_again_whole_learns_once():
    model, images, labels = lay("predsim", "perceptron")
    expected = accumulated(model, images, labels, [9])
    model.zero_grad()
    with model.freeing_units():
        output = checkpoint(model, images, labels, use_reentrant=False)
    (CROSS_ENTROPY(output, labels, reduction="sum") / 9).backward()
    assert_equal({name: p.grad for name, p in model.named_parameters()}, expected)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # the compiler's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_unit_within_a_part_that_is_compiled_waits_for_the_backward_pass():
    torch._dynamo.reset()
    images, labels = NETS["perceptron"][1]()
    layers = list(NETS["perceptron"][0]().children())
    model = routed(nn.Sequential(*layers[:2], nn.Sequential(*layers[2:4]), *layers[4:]), {"*": rule("predsim")}, images)
    expected = accumulated(model.train(), images, labels, [9])
    model.network[2].compile(backend="aot_eager", fullgraph=True)
    with model.freeing_units():
        assert_equal(accumulated(model, images, labels, [9]), expected, rtol=1e-12, atol=1e-15)
    torch._dynamo.reset()


@pytest.mark.parametrize("frozen", [["network.one", "heads.f1/output"], ["network.out"]], ids=str)
def test_what_is_frozen_is_passed_by(frozen):
    model, images, labels = lay("predsim", "perceptron")
    for name in frozen:
        model.get_submodule(name).requires_grad_(False)
    expected = accumulated(model, images, labels, [9])
    assert expected and not any(name.startswith(tuple(frozen)) for name in expected)
    with model.freeing_units():
        assert_equal(accumulated(model, images, labels, [9]), expected)


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("case", ["predsim", "auglocal"])
def test_what_is_held_at_once_is_what_the_account_says(case, kind):
    model, images, labels = lay(case, kind)
    account = memory(model, len(images), images.shape[1:])
    assert model.frees_units and account.at_once < account.total()
    freed, kept = (held_at_once(model, images, labels, freeing) for freeing in (True, False))
    assert freed == account.largest_unit < kept


def test_an_account_of_units_that_wait_for_their_error_holds_them_all():
    images, _ = NETS["retina"][1]()
    account = memory(routed(NETS["retina"][0](), {"*": "dfa"}, images), len(images), images.shape[1:])
    assert account.largest_unit < account.total(("activations",))
    assert account.at_once == account.total()


class Gained(nn.Module):
    """A gain that is learnt stands before a skip past the only hidden layer: two errors run back through it."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.full((6,), 2.0))
        self.hidden, self.relu, self.out = nn.Linear(6, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        x = (x * self.gain).exp()
        return self.out(self.relu(self.hidden(x)) + x)


def test_units_that_share_an_operation_wait_for_the_backward_pass():
    torch.manual_seed(0)
    images, labels = torch.randn(9, 6).double(), torch.arange(9) % 3
    model = Routed(Gained().double(), {"*": "predsim"}, images).train()
    assert model.cuts and not model.frees_units
    expected = accumulated(model, images, labels, [9])
    with model.freeing_units():
        assert_equal(accumulated(model, images, labels, [9]), expected)


def test_nothing_is_freed_where_errors_are_delivered_too():
    make, data = NETS["retina"]
    images, labels = data()
    model = routed(make(), {"retina.*": "predsim", "vvs.*": "dfa"}, images).train()
    assert model.cuts and model.edges and not model.frees_units


@pytest.mark.parametrize("way", ["eval", "no_grad", "observe", "exact"])
def test_within_the_context_nothing_is_learnt_where_no_step_is_taken(way):
    model, images, labels = lay("predsim", "retina")
    model.zero_grad()
    with model.freeing_units():
        if way == "eval":
            model.eval()(images, labels)
        elif way == "no_grad":
            with torch.no_grad():
                model(images, labels)
        elif way == "observe":
            model.observe(images, labels)
        else:
            with model.exact() as network:
                network(images)
    assert all(p.grad is None for p in model.parameters())


def test_outside_the_context_gradients_come_in_the_backward_pass():
    model, images, labels = lay("predsim", "retina")
    model.zero_grad()
    with model.freeing_units():
        model(images, labels)
    assert any(p.grad is not None for p in model.heads.parameters())
    model.zero_grad()
    model(images, labels)
    assert all(p.grad is None for p in model.parameters())


DIRECT = {"dfa": {}, "drtp": {}, "dldfa": {"rank": 2}, "ssa2024": {}}


@pytest.mark.parametrize("name", DIRECT)
def test_a_direct_error_is_made_when_the_units_after_its_own_have_learnt(name):
    images, labels = NETS["perceptron"][1]()
    model = Routed(NETS["perceptron"][0](), {"*": make_rule(name, **DIRECT[name])}, images, epochs=3).train()
    events, made = [], []
    for edge, feedback in model.maps.items():
        feedback.deliver = noting(feedback.deliver, events, edge.target, made)
    for name in model.weighted:
        for p in model.network.get_submodule(name).parameters():
            p.register_post_accumulate_grad_hook(lambda _, layer=name: events.append(("learnt", layer)))
    CROSS_ENTROPY(model(images, labels), labels).backward()
    targets = [port for what, port in events if what == "delivered"]
    assert len(targets) == len(model.maps) >= 3
    assert targets == sorted(targets, key=model.order.__getitem__, reverse=True)
    begins = [place for place, (what, _) in enumerate(events) if what == "delivered"]
    for begin, end in zip(begins, [*begins[1:], len(events)], strict=True):
        taught = {layer for what, layer in events[begin:end] if what == "learnt"}
        assert len(taught) == 1  # the unit that this error is for, before the next error is made
    assert not any(ref() is not None for ref in made)


def noting(deliver, events, place, made):
    def noted(delta, live, step, *given):
        carried, y = deliver(delta, live, step, *given)
        events.append(("delivered", place))
        made.append(weakref.ref(carried))
        return carried, y

    return noted


def test_of_direct_errors_one_is_held_at_once():
    images, labels = NETS["perceptron"][1]()
    model = routed(NETS["perceptron"][0](), {"*": "dfa"}, images).train()
    events, made, alive = [], [], []

    def watched(deliver, place):
        noted = noting(deliver, events, place, made)

        def at(delta, live, step, *given):
            alive.append(sum(ref() is not None for ref in made))
            return noted(delta, live, step, *given)

        return at

    for edge, feedback in model.maps.items():
        feedback.deliver = watched(feedback.deliver, edge.target.module)
    CROSS_ENTROPY(model(images, labels), labels).backward()
    assert alive == [0, 0, 0]


def test_a_pass_lets_go_of_its_graph():
    images, labels = NETS["perceptron"][1]()
    model = routed(NETS["perceptron"][0](), {"*": "dfa"}, images).train()
    gc.disable()
    try:
        output = model(images, labels)
        (passed,) = model._wiring.passes
        seen = weakref.ref(passed)
        del passed, output
        assert seen() is None
    finally:
        gc.enable()
