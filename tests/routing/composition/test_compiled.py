"""torch.compile, the whole step in one graph: it is traced once, and every value must still be read each step."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
import torch._dynamo
import torch._functorch.config
from composed import MECHANISMS, NETWORKS, assert_same, gradients, lay, named, relative
from networks import CROSS_ENTROPY, batch
from properties import FACTORED, TABLE
from test_checkpointed import checkpointed

from rfmodel.routing import Routed, make_rule

SAME_OPERATORS = 1e-12  # float64; aot_eager runs the operators that eager runs, some decomposed
FUSED = 1e-10  # float64; inductor adds up in another order
HALF = 2**-8  # unit roundoff of bfloat16
COMPILER = shutil.which(os.environ.get("CXX", "")) or shutil.which("c++") or shutil.which("g++")

CELLS = [("perceptron", case) for case in (*TABLE, *FACTORED)]
CELLS += [("retina", case) for case in MECHANISMS]
CELLS += [("vit", "ldfa, Hebbian Q"), ("residual", "dldfa"), ("vgg", "kolen_pollack")]

# What the compiler itself does while it traces: it makes autograd functions, and asks tensors in a graph for .grad.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]


@pytest.fixture(autouse=True)
def fresh():
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


@pytest.mark.parametrize(("kind", "case"), CELLS, ids=named(CELLS))
def test_a_compiled_step_has_the_gradients_of_the_eager_one(kind, case):
    model, images, labels = lay(kind, case)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    expected = gradients(model, images, labels)
    assert_same(gradients(model, images, labels, call=compiled), expected, SAME_OPERATORS)


@pytest.mark.skipif(COMPILER is None, reason="inductor needs a C++ compiler, and there is none on the path")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # inductor's own imports
@pytest.mark.parametrize("case", ["kolen_pollack", "ldfa, labels in the last layer"])
def test_fused_kernels_have_the_gradients_of_the_eager_step(case):
    model, images, labels = lay("perceptron", case)
    compiled = torch.compile(model, fullgraph=True)
    expected = gradients(model, images, labels)
    assert_same(gradients(model, images, labels, call=compiled), expected, FUSED)


REPLAYED = "skip_fwd_side_effects_in_bwd_under_checkpoint"  # the compiler recomputes taps itself, not the hooks


@pytest.mark.parametrize(("case", "in_one_graph"), [("kolen_pollack", False), ("kolen_pollack", True), ("dldfa", True)])
def test_a_compiled_step_with_checkpoints_has_the_gradients_of_the_eager_one(case, in_one_graph):
    if in_one_graph and not hasattr(torch._dynamo.config, REPLAYED):
        pytest.skip("this torch traces no module with hooks within a checkpoint")
    model, images, labels = lay("retina", case)
    again, _, _ = lay("retina", case, change=lambda network: checkpointed(network, ("retina", "vvs")))
    compiled = torch.compile(again, fullgraph=in_one_graph, backend="aot_eager")
    expected = gradients(model, images, labels)
    with torch._dynamo.config.patch({REPLAYED: True} if in_one_graph else {}):
        found = gradients(again, images, labels, call=compiled)
    assert_same(found, expected, SAME_OPERATORS)


def test_the_plain_network_compiled_by_itself_has_true_gradients():
    model, images, labels = lay("perceptron", "kolen_pollack")
    gradients(model, images, labels)
    compiled = torch.compile(model.network, fullgraph=True, backend="aot_eager")
    with model.exact():
        expected = gradients(model, images, labels)
    found = gradients(model, images, labels, call=lambda images, labels: compiled(images))
    assert_same(found, expected, SAME_OPERATORS)


STEPPING = {
    "brsf": ("brsf", {}),
    "weight_mirror": ("weight_mirror", {"rate": 0.1}),
    "kolen_pollack": ("kolen_pollack", {}),
    "refactor": ("ldfa", {"rank": 2, "q": "hebbian", "init": "svd", "refactor_every": 2, "moments": "reset"}),
    "normative": ("ldfa_normative", {"rank": 2, "init": "svd", "refactor_every": 2}),
    "schedule": ("ldfa", {"rank": 1, "q": "hebbian", "schedule": [[2, 3], [4, 2]]}),
}


def trained(rule, compiled, sizes=(9,) * 4, weights=(None,) * 4):
    """Train for some steps, each its own epoch, and return after each step all weights and the true gradients."""
    make, shape, classes = NETWORKS["perceptron"]
    model = Routed(make(), {"*": rule}, batch(shape, classes)[0]).double()
    call = torch.compile(model, fullgraph=True, backend="aot_eager") if compiled else model
    optimisers = [torch.optim.SGD([*model.network.parameters(), *model.feedback_parameters(True)], 0.1, momentum=0.9)]
    if model.feedback_parameters(False):
        optimisers.append(torch.optim.Adam(model.feedback_parameters(False), 0.05))
    path = []
    for epoch, (size, weight) in enumerate(zip(sizes, weights, strict=True), start=1):
        model.start_epoch(epoch, optimisers)
        model.loss_weight = weight
        images, labels = batch(shape, classes, size)
        state = gradients(model, images, labels, call=call)
        with model.exact():
            true = torch.autograd.grad(CROSS_ENTROPY(call(images, labels), labels), list(model.network.parameters()))
        for optimiser in optimisers:
            optimiser.step()
        model.advance(optimisers)
        state |= {f"network.true {i}": gradient for i, gradient in enumerate(true)}
        path.append(state | {name: p.detach().clone() for name, p in model.named_parameters(prefix="feedback.after")})
    return path


@pytest.mark.parametrize("case", STEPPING)
def test_what_changes_between_steps_is_read_in_each(case):
    name, options = STEPPING[case]
    eager, compiled = (trained(make_rule(name, **options), on) for on in (False, True))
    for found, expected in zip(compiled, eager, strict=True):
        assert_same(found, expected, SAME_OPERATORS)


@pytest.mark.parametrize(
    "changing", [{"sizes": (9, 4, 9, 7)}, {"weights": (1 / 9, 1 / 18, None, 0.3)}], ids=["batch", "loss_weight"]
)
def test_the_share_of_a_sample_is_read_in_each_step(changing):
    rule = make_rule("ldfa", rank=2, q="hebbian", normalise="none", decay=0.01)
    eager, compiled = (trained(rule, on, **changing) for on in (False, True))
    for found, expected in zip(compiled, eager, strict=True):
        assert_same(found, expected, SAME_OPERATORS)


def half(model, images, labels, call=None):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = (model if call is None else call)(images, labels)
    model.zero_grad()
    CROSS_ENTROPY(output.float(), labels).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("case", ["kolen_pollack", "ldfa, Hebbian Q", "ldfa_normative"])
def test_a_compiled_step_in_bfloat16_rounds_as_the_eager_one_does(case):
    # By default the compiled backward pass computes maps' products in bfloat16 too: two more roundings a product of
    # two products. With its autocast off, as eager's is, nothing differs.
    model, images, labels = lay("retina", case, torch.float32)
    expected = half(model, images, labels)
    found = half(model, images, labels, torch.compile(model, fullgraph=True, backend="aot_eager"))
    assert relative(found, expected, "network.") <= HALF
    assert relative(found, expected, "feedback.") <= 4 * HALF
    torch._dynamo.reset()
    with torch._functorch.config.patch(backward_pass_autocast="off"):
        found = half(model, images, labels, torch.compile(model, fullgraph=True, backend="aot_eager"))
    assert_same(found, expected, 1e-6)
