"""Units: what SSA takes for one, on the networks it is published for, and what it refuses."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from networks import CROSS_ENTROPY
from torch import nn

from rfmodel.errors import InputError
from rfmodel.factors import factored, merge
from rfmodel.models import MLP, VGG13, LeNet, MobileNet, ResNet, SmallConv
from rfmodel.routing import Port, Routed, Rule, make_rule, register_rule, trace
from rfmodel.routing.cuts import teach
from rfmodel.routing.factoring import Factors, units
from rfmodel.routing.local_loss import Weighing
from rfmodel.routing.rules import RULES

CONSTANT = {"kind": "constant"}
NETWORKS = {
    "MLP": lambda: MLP(16, 2, size=8),
    "SmallConv": lambda: SmallConv(0.1, size=16),
    "SmallConv with norms": lambda: SmallConv(0.1, size=16, batch_norm=True),
    "LeNet": lambda: LeNet(0.25),
    "VGG-13": lambda: VGG13(width=0.1),
    "ResNet-20": lambda: ResNet(20),
    "ResNet, shortcuts with weights": lambda: ResNet(20, shortcut="B"),
    "MobileNetV1": lambda: MobileNet(width=0.125),
}


def pixels(network):
    size = {MLP: 8, SmallConv: 16}.get(type(network), 32)
    return torch.randn(4, 3, size, size)


def laid(kind, taught="ssa2024", **options):
    torch.manual_seed(0)
    network = NETWORKS[kind]()
    options.setdefault("schedule", CONSTANT)
    images = pixels(network)
    return Routed(network, {"*": make_rule(taught, **options)}, images, epochs=10), images


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("at", ["activity", "preactivation"])
def test_every_layer_is_taught_once_and_every_parameter_learns(name, at):
    routed, images = laid(name, at=at)
    taught = teach(trace(routed.network, images), [edge.target for edge in routed.edges]).by
    assert all(len(ports) == 1 and None not in ports for ports in taught.values())
    CROSS_ENTROPY(routed(images, torch.arange(4)), torch.arange(4)).backward()
    silent = [n for n, p in routed.network.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    # Cut before its norm, a layer's norm is taught by the next layer's error, through that layer's factors.
    assert silent == []


@pytest.mark.parametrize("name", NETWORKS)
def test_all_layers_in_one_group_are_factored_and_merge_gives_the_network_back(name):
    torch.manual_seed(0)
    plain = NETWORKS[name]().eval()
    routed, images = laid(name)
    network = routed.network.eval()
    whole = {n for n, m in network.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1}
    assert set(factored(network)) == set(routed.weighted) - whole == set(routed.losses)
    torch.testing.assert_close(network(images), plain(images), rtol=1e-3, atol=1e-4)  # float32 through every layer
    merged = merge(network)
    assert [n for n, _ in merged.named_parameters()] == [n for n, _ in plain.named_parameters()]
    torch.testing.assert_close(merged(images), plain(images), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("depth", "blocks"), [(20, 9), (32, 15), (56, 27)])
def test_a_residual_block_is_one_unit(depth, blocks):
    # A.3: "for ResNet-32, this results in a total of 16 fundamental layers", stem and blocks; beside them the logits.
    with torch.device("meta"):
        routed = Routed(ResNet(depth), {"*": make_rule("ssa2024")}, torch.empty(2, 3, 32, 32), epochs=200)
    assert len(routed.edges) == blocks + 1 + 1
    own = units(trace(routed.network, torch.empty(2, 3, 32, 32, device="meta")), [e.target for e in routed.edges])
    assert own[Port("layer2.0", "output")] == ["layer2.0.conv1", "layer2.0.conv2"]


def test_a_blocks_signal_goes_through_its_widest_layer_and_not_its_shortcut():
    routed, _ = laid("ResNet, shortcuts with weights")
    twin = next(f for edge, f in routed.maps.items() if edge.target == Port("layer2.0", "output"))
    assert twin.loss.layer is routed.network.layer2[0].conv2


def test_a_depthwise_convolution_is_left_whole_and_taught_with_the_layer_after_it():
    routed, images = laid("MobileNetV1")
    own = units(trace(routed.network, images), [edge.target for edge in routed.edges])
    assert all(layers for layers in own.values())
    grouped = [n for n, m in routed.network.named_modules() if isinstance(m, nn.Conv2d) and m.groups > 1]
    assert grouped and not set(grouped) & set(routed.losses)


def test_the_schedule_cuts_layer_moments_and_feedback_alike():
    routed, images = laid("SmallConv", aligns="both", schedule={"every": 1, "floor": 0.5})
    labels = torch.arange(4)
    weights = torch.optim.Adam(routed.network.parameters(), fused=True)
    feedback = torch.optim.Adam(routed.feedback_parameters(False))
    first = {name: loss.layer.rank for name, loss in routed.losses.items()}
    for epoch in (1, 2, 3):
        fell = routed.start_epoch(epoch, [weights, feedback])
        assert fell == (epoch > 1)
        for name, loss in routed.losses.items():
            rank = -(-first[name] * (11 - epoch) // 10)  # r_0 (1 - k/K), rounded up
            assert loss.layer.rank == rank
            assert {len(B) if B.ndim == 1 else B.shape[1] for B in loss.maps} == {rank}
        for optimiser in (weights, feedback):
            for p, state in optimiser.state.items():
                assert all(value.shape == p.shape for key, value in state.items() if key != "step")
        for optimiser in (weights, feedback):
            optimiser.zero_grad()
        CROSS_ENTROPY(routed(images, labels), labels).backward()
        for optimiser in (weights, feedback):
            optimiser.step()
        routed.advance([weights, feedback])


def test_a_fall_may_set_the_moments_to_nought():
    routed, images = laid("MLP", schedule={"every": 1}, moments="reset")
    optimiser = torch.optim.Adam(routed.network.parameters())
    for epoch in (1, 2):
        routed.start_epoch(epoch, [optimiser])
        if epoch == 2:
            for loss in routed.losses.values():
                assert not any(optimiser.state[f]["exp_avg"].any() for f in (loss.layer.U, loss.layer.S, loss.layer.V))
        optimiser.zero_grad()
        CROSS_ENTROPY(routed(images, torch.arange(4)), torch.arange(4)).backward()
        optimiser.step()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # the compiler's own
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
def test_a_compiled_step_follows_the_rank_as_it_falls():
    routed, images = laid("MLP", schedule={"every": 1})
    labels = torch.arange(4)
    torch._dynamo.reset()
    compiled = torch.compile(routed, fullgraph=True, backend="aot_eager", dynamic=False)
    try:
        for epoch in (1, 2, 3):
            routed.start_epoch(epoch, [])
            found = []
            for call in (routed, compiled):
                routed.zero_grad()
                CROSS_ENTROPY(call(images, labels), labels).backward()
                found.append({n: p.grad.clone() for n, p in routed.network.named_parameters()})
            for name, gradient in found[0].items():
                torch.testing.assert_close(found[1][name], gradient, rtol=1e-5, atol=1e-6)
            routed.advance()
    finally:
        torch._dynamo.reset()


def test_a_start_from_the_weights_has_no_distance_to_pull_over():
    routed, _ = laid("LeNet", start="weights", svd_iterations=0)
    for loss in routed.losses.values():
        layer = loss.layer
        product = (loss.B_U * loss.B_S) @ loss.B_V.T
        torch.testing.assert_close(product, layer.matrix().detach(), rtol=1e-4, atol=1e-5)


def test_any_rule_runs_on_factored_layers_and_hears_the_schedule():
    for rule in ("fa", "dfa", {"name": "ldfa", "rank": 2}, "usf", "kolen_pollack"):
        routed, images = laid("MLP", "svd", rule=rule, schedule={"every": 1, "floor": 0.6})
        for epoch in (1, 2, 3):
            routed.start_epoch(epoch, [])
            routed.zero_grad()
            CROSS_ENTROPY(routed(images, torch.arange(4)), torch.arange(4)).backward()
            assert all(p.grad.isfinite().all() for p in routed.network.parameters())
            routed.advance()
        assert routed.losses["layer1"].layer.rank == -(-16 * 8 // 10)


def test_a_rule_of_the_users_own_may_ask_for_factors():
    from rfmodel.factors import RankSchedule
    from rfmodel.routing.topologies import layerwise

    @register_rule("mine")
    def mine():
        factors = Factors(taught=False, schedule=RankSchedule("energy", every=1, energy=0.5))
        return Rule("mine", layerwise, make_rule("fa").feedback, factors=factors)

    try:
        images = torch.randn(4, 3, 8, 8)
        routed = Routed(MLP(16, 2, size=8), {"*": "mine"}, images)
        assert routed.start_epoch(2, []) and routed.losses["layer1"].layer.rank < 16
    finally:
        del RULES["mine"]


@pytest.mark.parametrize(
    ("factors", "told"),
    [
        (lambda: "full", "factors 'full' of rule 'mine' are no .*Factors"),
        (lambda: Factors(False, start="drawn"), "start of factors: 'drawn'"),
        (lambda: Factors(False, moments="drop"), "moments of factors: 'drop'"),
        (lambda: Factors(False, Weighing(project="qr")), "project of their weighing: 'qr'"),
        (lambda: Factors(False, Weighing(aligns="none")), "aligns of their weighing: 'none'"),
    ],
)
def test_factors_of_a_users_own_rule_that_cannot_be_are_named(factors, told):
    with pytest.raises(InputError, match=told):
        replace(make_rule("fa"), name="mine", factors=factors())


@pytest.mark.parametrize("start", ["random", "weights"])
def test_a_layer_whose_weights_are_nought_is_refused_and_not_left_without_an_error(start):
    network = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    nn.init.zeros_(network[0].weight)
    with pytest.raises(InputError, match=r"layer that makes \(5,\) are nought.*initialise"):
        Routed(network, {"*": make_rule("ssa", start=start, schedule=CONSTANT)}, torch.zeros(2, 6))


class Ending(nn.Module):
    """Logits that something is done to before they leave."""

    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x):
        return self.two(self.one(x).relu()) * 2


@pytest.mark.parametrize(
    ("network", "site", "rule", "options", "told"),
    [
        (Ending, "*", "ssa", {}, "output is not that of its last layer, 'two'"),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)), "3", "ssa", {},
         "unit that ends at '3.input' has no weight that can be split"),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3, groups=2), nn.Flatten(), nn.Linear(16, 3)), "0", "svd_bp", {},
         "'0' cannot be split .* 2 groups"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), "*", "ssa", {"schedule": None},
         "'0': a rank schedule of kind 'hybrid' counts in shares of all epochs"),
        (lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)), "nothing", "svd_bp", {}, "nothing"),
        (lambda: nn.Sequential(nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)), "*", "ssa", {},
         "none of the unit's layers makes .32,., .* feedback = 'dense'"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_unit_is_named_before_training(network, site, rule, options, told):
    shape = {"Ending": (4,)}.get(getattr(network, "__name__", ""))
    made = network()
    first = next(m for m in made.modules() if isinstance(m, nn.Linear | nn.Conv2d))
    shape = (4,) if isinstance(first, nn.Linear) else (4, 4, 6) if "dense" in told else (4, 4, 4)
    with pytest.raises(InputError, match=told):
        Routed(made, {site: make_rule(rule, **({"schedule": CONSTANT} | options))}, torch.zeros(2, *shape))


def test_one_layer_may_be_factored_by_one_rule_only():
    rules = {"layer[12]": make_rule("svd_bp", schedule=CONSTANT), "*": make_rule("ssa", schedule=CONSTANT)}
    with pytest.raises(InputError, match="layer 'layer.' is factored by another rule too|every site that it fits"):
        Routed(MLP(8, 2, size=8), rules, torch.zeros(2, 3, 8, 8))
