"""Rules without edges, local losses and steps of their own: what each of them leaves alone, and what it teaches."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import (
    CASES,
    CROSS_ENTROPY,
    Checkpointed,
    accumulated,
    batch,
    gradients,
    into,
    residual_blocks,
    routed,
    vgg,
)
from properties import WITHOUT_EDGES, rule
from torch import nn

from rfmodel.diagnostics import diagnose
from rfmodel.errors import InputError
from rfmodel.routing import Port, Routed, Rule, calibrate, make_rule
from rfmodel.routing.heads import no_edges, no_map

NETS = {**CASES, "residual": (residual_blocks, lambda n=9: batch((1, 8, 8), 3, n))}
LOCAL = [case for case in WITHOUT_EDGES if not case.startswith("pepita")]
LAST = {"perceptron": "out", "retina": "head.logits", "residual": "fc"}
# A mean over samples that does not look at other samples; batch norm does, in the auxiliary network too.
BY_SAMPLE = ["predsim, prediction", "auglocal", "auglocal of depth 1", "pepita", "pepita, modulated"]


def lay(case, kind, seed=0):
    make, data = NETS[kind]
    images, labels = data()
    return routed(make(), {"*": rule(case)}, images, seed), images, labels


def cells(cases):
    chosen = {
        "perceptron": list(WITHOUT_EDGES),
        "retina": ["predsim", "auglocal", "pepita", "pepita, modulated"],
        "residual": ["predsim, similarity", "auglocal"],  # one that ends units inside blocks, and one that does not
    }
    return [(case, kind) for kind in NETS for case in chosen[kind] if case in cases]


@pytest.mark.parametrize(("case", "kind"), cells(WITHOUT_EDGES))
@pytest.mark.parametrize("training", [True, False])
def test_the_forward_pass_is_bitwise_unchanged(case, kind, training):
    model, images, labels = lay(case, kind)
    plain = NETS[kind][0]().train(training)
    model.train(training)
    expected = plain(images)
    assert torch.equal(model.network(images), expected)
    model.network.load_state_dict(NETS[kind][0]().state_dict())  # batch norm's statistics as before
    assert torch.equal(model(images, labels), expected)


@pytest.mark.parametrize(("case", "kind"), cells(WITHOUT_EDGES))
def test_the_network_by_itself_and_exact_mode_follow_the_true_jacobian(case, kind):
    model, images, labels = lay(case, kind)
    true = gradients(NETS[kind][0](), images, labels=labels)
    assert model.routes_errors
    bare = gradients(model.network, images, labels=labels)
    with model.exact():
        assert not model.routes_errors
        exact = gradients(model, images, labels=labels)
    assert all(torch.equal(true[n], bare[n]) and torch.equal(true[n], exact[n]) for n in true)


@pytest.mark.parametrize(("case", "kind"), cells(LOCAL))
def test_the_output_layer_learns_from_the_loss_itself(case, kind):
    model, images, labels = lay(case, kind)
    name = f"{LAST[kind]}.weight"
    true = gradients(NETS[kind][0](), images, labels=labels)
    assert torch.equal(gradients(model, images, labels=labels)[name], true[name])


@pytest.mark.parametrize(("case", "kind"), cells(LOCAL))
def test_a_head_teaches_its_own_unit_and_no_other(case, kind):
    model, images, labels = lay(case, kind)
    for p in model.heads.parameters():  # a classifier that starts at zero sends nothing down
        p.data.normal_(generator=torch.Generator().manual_seed(1))
    model.eval()
    before = gradients(model, images, labels=labels)
    head = list(model.heads.values())[1]
    handle = head.register_forward_hook(lambda module, args, loss: 0 * loss)
    after = gradients(model, images, labels=labels)
    handle.remove()
    silenced = {name for name in before if before[name].any() and not after[name].any()}
    unit = {"perceptron": {"two"}, "retina": {"retina.conv2"}, "residual": {"one"}}[kind]
    if kind == "residual" and "units" in WITHOUT_EDGES[case][1]:
        unit = {"one.conv1", "one.bn1"}
    assert silenced and all(any(name.startswith(f"{part}.") for part in unit) for name in silenced)
    assert {f"{part}.weight" for part in unit if part in model.weighted} <= silenced
    assert all(torch.equal(before[name], after[name]) for name in before.keys() - silenced)


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("case", BY_SAMPLE)
def test_what_is_learnt_does_not_depend_on_how_the_batch_is_split(case, kind):
    model, images, labels = lay(case, kind)
    whole, parts = accumulated(model, images, labels, [9]), accumulated(model, images, labels, [2, 7])
    assert whole.keys() == parts.keys()
    for name in whole:
        torch.testing.assert_close(whole[name], parts[name], rtol=1e-9, atol=1e-13)  # sums in another order


def test_similarities_depend_on_which_samples_are_together():
    model, images, labels = lay("predsim, similarity", "perceptron")
    whole, parts = accumulated(model, images, labels, [9]), accumulated(model, images, labels, [2, 7])
    assert not torch.allclose(whole["network.one.weight"], parts["network.one.weight"], rtol=0.01)
    assert torch.allclose(whole["network.out.weight"], parts["network.out.weight"])


@pytest.mark.parametrize("case", WITHOUT_EDGES)
def test_draws_depend_on_seed_and_place_alone(case):
    torch.manual_seed(3)
    state = torch.get_rng_state()
    network, images = CASES["retina"][0](), CASES["retina"][1]()[0]
    weights = copy.deepcopy(network.state_dict())
    torch.set_rng_state(state)
    first = Routed(network, {"*": rule(case)}, images)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(weights[name], value) for name, value in network.state_dict().items())
    own = {name: v for name, v in first.state_dict().items() if name.startswith(("heads.", "own_step."))}
    same, other = (Routed(CASES["retina"][0](), {"*": rule(case)}, images, seed).state_dict() for seed in (0, 1))
    assert own and all(torch.equal(value, same[name]) for name, value in own.items())
    assert any(not torch.equal(value, other[name]) for name, value in own.items())


def test_a_head_is_the_same_whatever_other_units_have_one():
    images = CASES["retina"][1]()[0]
    every = Routed(CASES["retina"][0](), {"*": make_rule("predsim")}, images)
    one = Routed(CASES["retina"][0](), into("vvs.*", "predsim"), images)
    assert {str(port) for port in one.cuts} < {str(port) for port in every.cuts}
    for key, head in one.heads.items():
        assert all(torch.equal(p, q) for p, q in zip(head.parameters(), every.heads[key].parameters(), strict=True))


@pytest.mark.parametrize("case", LOCAL)
def test_heads_learn_with_the_weights_optimiser(case):
    model, images, labels = lay(case, "retina")
    own = {id(p) for p in model.heads.parameters()}
    assert own == {id(p) for p in model.feedback_parameters(as_weights=True)}
    assert own == {id(p) for p in model.feedback_parameters()} and not model.feedback_parameters(as_weights=False)
    gradients(model, images, labels=labels)
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize("case", LOCAL)
def test_labels_are_asked_for(case):
    model, images, _ = lay(case, "perceptron")
    assert model.reads_labels
    with pytest.raises(InputError, match=r"needs them: call routed\(images, labels\)"):
        model(images)


@pytest.mark.parametrize(("case", "kind"), cells(WITHOUT_EDGES))
def test_observing_changes_nothing_and_tells_what_a_step_does(case, kind):
    model, images, labels = lay(case, kind)
    before = {name: b.clone() for name, b in model.named_buffers()}
    found = model.observe(images, labels)
    assert all(torch.equal(before[name], b) for name, b in model.named_buffers())
    assert all(p.grad is None for p in model.parameters())
    assert set(found.signals) == set(model.cuts)
    expected = gradients(model, images, labels=labels)
    assert all(torch.equal(found.gradients[name], expected[name]) for name in expected)


@pytest.mark.parametrize("case", LOCAL)
def test_the_error_at_a_units_end_is_its_own_losss_gradient(case):
    model, images, labels = lay(case, "retina")
    model.eval()
    port = model.cuts[1]
    h = model.network.retina(images).detach().requires_grad_()
    y = nn.functional.one_hot(labels, 5).double()
    (expected,) = torch.autograd.grad(model.heads["retina/relu2/output"](h, y), h)
    assert port == Port("retina.relu2", "output")
    torch.testing.assert_close(model.teaching_signals(images, labels)[port], expected, rtol=0, atol=0)
    with model.exact():
        assert model.teaching_signals(images, labels)[port].shape == expected.shape


@pytest.mark.parametrize(("case", "kind"), cells(WITHOUT_EDGES))
def test_copies_and_states_hold_all(case, kind):
    model, images, labels = lay(case, kind)
    twin = copy.deepcopy(model)
    other = routed(NETS[kind][0](), {"*": rule(case)}, images, seed=9)
    other.load_state_dict(model.state_dict())
    before = gradients(model, images, labels=labels)
    for p in model.parameters():
        p.data.zero_()
    for again in (twin, other):
        assert all(torch.equal(before[n], g) for n, g in gradients(again, images, labels=labels).items())


@pytest.mark.parametrize("case", WITHOUT_EDGES)
def test_calibration_and_diagnostics_have_nothing_to_do(case):
    model, images, labels = lay(case, "perceptron")
    assert calibrate(model, [(images, labels)]) == {}
    assert diagnose(model, images, labels) == {}


@pytest.mark.parametrize("case", LOCAL)
def test_a_residual_block_is_a_unit_and_so_may_be_its_layers(case):
    model, _, _ = lay(case, "residual")
    inside = [port for port in model.cuts if ".relu1" in port.module]
    assert bool(inside) == ("units" in WITHOUT_EDGES[case][1])
    blocks = ["relu", "one", "two"]
    ends = [port for port in model.cuts if port not in inside]
    expected = blocks[:-1] if case.startswith("auglocal") else blocks
    assert ends == [Port(name, "output") for name in expected]


def test_units_end_before_pools_and_keep_their_maps():
    images = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    model = Routed(vgg(), {"*": make_rule("predsim")}, images)
    modules = dict(model.network.named_modules())
    assert all(isinstance(modules[port.module], nn.ReLU) for port in model.cuts)


@pytest.mark.parametrize("case", LOCAL)
def test_units_within_a_checkpoint_learn_the_same(case):
    model, images, labels = lay(case, "retina")
    network = CASES["retina"][0]()
    network.retina, network.vvs = Checkpointed(network.retina), Checkpointed(network.vvs)
    again = routed(network, {"*": rule(case)}, images)
    expected = list(gradients(model, images, labels=labels).values())
    found = list(gradients(again, images, labels=labels).values())
    heads = zip(model.heads.values(), again.heads.values(), strict=True)
    for a, b in heads:  # drawn for places of other names
        b.load_state_dict(a.state_dict())
    found = list(gradients(again, images, labels=labels).values())
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))


@pytest.mark.parametrize("case", WITHOUT_EDGES)
def test_a_step_under_autocast_is_near_the_whole_one(case):
    model, images, labels = lay(case, "retina")
    model.float()
    images = images.float()
    expected = gradients(model, images, labels=labels)
    model.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model(images, labels)
    CROSS_ENTROPY(output.float(), labels).backward()
    found = {name: p.grad for name, p in model.network.named_parameters()}
    for name, gradient in expected.items():
        assert found[name].dtype == torch.float32
        if name.endswith("weight") and "pepita" not in case:  # differences of rounded activities are rounding
            cosine = nn.functional.cosine_similarity(found[name].flatten(), gradient.flatten(), dim=0)
            assert cosine > 0.9 or not gradient.any()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("case", ["predsim", "auglocal", "pepita"])
def test_a_compiled_step_has_the_gradients_of_the_eager_one(case):
    torch._dynamo.reset()
    model, images, labels = lay(case, "perceptron")
    # PEPITA's second pass runs in the midst of the backward pass, which no compiler traces.
    compiled = torch.compile(model, fullgraph=case != "pepita", backend="aot_eager")
    expected = gradients(model, images, labels=labels)
    model.zero_grad()
    CROSS_ENTROPY(compiled(images, labels), labels).backward()
    for name, p in model.network.named_parameters():
        torch.testing.assert_close(p.grad, expected[name], rtol=1e-12, atol=1e-15)  # some operators are decomposed
    torch._dynamo.reset()


def broken(head):
    return Rule("custom", no_edges, no_map, cuts=lambda record, sites: [Port("f1", "output")], head=head)


class OfOtherSize(nn.Module):
    def __init__(self, plan):
        super().__init__()
        self.W = nn.Linear(plan.shape[0] + 1, plan.classes)

    def forward(self, h, y):
        return nn.functional.cross_entropy(self.W(h), y)


def test_what_cannot_be_is_refused():
    images = torch.zeros(2, 7, dtype=torch.float64)
    perceptron = CASES["perceptron"][0]
    with pytest.raises(InputError, match=r"OfOtherSize at 'f1.output' cannot take an activity of \(6,\)"):
        Routed(perceptron(), {"*": broken(OfOtherSize)}, images)
    with pytest.raises(InputError, match="'f1.output' ends a unit of two rules"):
        Routed(perceptron(), {"two": make_rule("predsim"), "three": broken(OfOtherSize)}, images)
    frozen = perceptron()
    frozen.one.requires_grad_(False)
    with pytest.raises(InputError, match="'f1.output' ends a unit in which nothing learns"):
        Routed(frozen, {"two": broken(OfOtherSize)}, images)
    single = nn.Sequential(nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    with pytest.raises(InputError, match=r"the network's output is \(1,\) a sample"):
        Routed(single, {"*": make_rule("predsim")}, images)
    inplace = nn.Sequential(nn.Linear(7, 4), nn.Tanh(), nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 3))
    with pytest.raises(InputError, match="module '3' works in place"):
        Routed(inplace.double(), {"*": make_rule("predsim")}, images)
