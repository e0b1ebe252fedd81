"""What an account leaves alone, whom it serves, and how it is read."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from networks import retina, transformer
from properties import rule
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from rfmodel.costs import PARTS, account, check, counted, per_epoch, relative_to_bp, rows
from rfmodel.errors import InputError
from rfmodel.models import VGG
from rfmodel.routing import Feedback, Plan, Routed, Rule, layerwise, make_rule

SHAPE = (1, 6, 6)


def routed_retina(case):
    return Routed(retina(), {"*": rule(case)}, torch.zeros(2, *SHAPE).double())


def dense(rules=None):
    torch.manual_seed(0)
    return Routed(nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 5)), rules or {}, torch.zeros(2, 12))


class Values(TorchDispatchMode):
    """Notes every tensor that is made with values."""

    def __init__(self):
        super().__init__()
        self.made = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor) and not result.is_meta and function is not torch.ops.aten.detach.default:
            self.made.append((str(function), tuple(result.shape)))  # detach only looks at what is there
        return result


@pytest.mark.parametrize("case", ["bp", "ldfa, Hebbian Q", "weight_mirror", "brsf", "ldfa_normative, released code"])
def test_an_account_makes_no_tensor_that_has_values(case):
    routed = routed_retina(case)
    with Values() as seen:
        account(routed, 5, SHAPE).at(3).backpropagation()
    assert seen.made == []


@pytest.mark.parametrize("case", ["bp", "ldfa, Hebbian Q", "weight_mirror", "brsf", "ldfa_normative, released code"])
def test_an_account_leaves_the_network_as_it_was(case):
    routed = routed_retina(case).eval()
    routed.network.retina.train()
    images, labels = torch.randn(4, *SHAPE).double(), torch.tensor([0, 1, 2, 3])
    nn.functional.cross_entropy(routed(images, labels), labels).backward()
    before = copy.deepcopy(routed)
    modes = [module.training for module in routed.modules()]
    grads = {name: None if p.grad is None else p.grad.clone() for name, p in routed.named_parameters()}
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in routed.modules()]
    state = torch.get_rng_state()
    account(routed, 5, SHAPE)
    check(routed, 5, SHAPE)
    assert torch.equal(torch.get_rng_state(), state)
    assert [module.training for module in routed.modules()] == modes
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in routed.modules()] == hooks
    for key, value in before.state_dict().items():
        assert torch.equal(routed.state_dict()[key], value), key
    for name, p in routed.named_parameters():
        assert (p.grad is None) == (grads[name] is None) and (p.grad is None or torch.equal(p.grad, grads[name]))
    assert routed.steps == before.steps and routed.routes_errors == before.routes_errors


@pytest.mark.parametrize("device", ["meta", "cuda"])
def test_an_account_does_not_depend_on_the_device(device):
    if device == "cuda" and not torch.cuda.is_available():
        pytest.skip("no GPU here")
    routed = routed_retina("ldfa, Hebbian Q")
    there = copy.deepcopy(routed).to(device)
    assert account(there, 5, SHAPE).table.identical(account(routed, 5, SHAPE).table)
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        held = torch.cuda.memory_allocated()
        account(there, 5, SHAPE)
        assert torch.cuda.max_memory_allocated() == held


def test_a_batch_of_one_passes_batch_norm():
    with torch.device("meta"):
        routed = Routed(VGG(1 / 16, size=8), {}, torch.empty(2, 3, 8, 8))
    assert 3 * account(routed, 1, (3, 8, 8)).total(("forward",)) == account(routed, 3, (3, 8, 8)).total(("forward",))


class Own(Feedback):
    """A user's map: two dense steps, a Hebbian update, and an outer product of its weights every ten steps."""

    advances = True

    def __init__(self, plan: Plan, looks: bool = False) -> None:
        super().__init__(plan.geometry)
        self.A = nn.Parameter(torch.zeros(7, plan.geometry.n))
        self.C = nn.Parameter(torch.zeros(plan.geometry.m, 7))
        self.looks = looks

    def carry(self, delta, like, A, C):
        return delta @ C @ A

    def plasticity(self, delta, y, activity, step, A, C):
        return None, delta.T @ (activity @ A.T)

    def advance(self, step, optimisers):
        if self.looks and bool((self.A > 0).any()):
            return
        if step % 10 == 0:
            self.C @ self.A


def test_a_users_own_map_is_counted_by_running_it():
    batch, n, m = 4, 20, 5
    found = account(dense({"2": Rule("own", layerwise, Own)}), batch, (12,), optimisers=(0, 1)).table.sel(layer="2")
    assert found.sel(part="feedback") == 2 * batch * 7 * (n + m)
    assert found.sel(part="plasticity") == 2 * batch * 7 * (n + m) + 2 * 7 * m * n / 10
    assert found.sel(part="optimiser") == 7 * m  # A has no pseudo-gradient


def test_a_map_whose_advance_looks_at_values_is_refused_by_its_edge():
    routed = dense({"2": Rule("own", layerwise, lambda plan: Own(plan, looks=True))})
    with pytest.raises(InputError, match=r"edge '2.output->2.input': Own.advance cannot be counted on shapes alone"):
        account(routed, 4, (12,))


class Looking(nn.Linear):
    def forward(self, x):
        return super().forward(x) * float(x.sum())


def test_a_layer_that_looks_at_values_is_refused():
    routed = Routed(nn.Sequential(Looking(3, 2)), {}, torch.zeros(2, 3))
    with pytest.raises(
        InputError, match=r"shapes of 4 images of \(3,\) fails .* layers and maps that look at no values"
    ):
        account(routed, 4, (3,))


class Two(nn.Linear):
    def forward(self, x):
        return super().forward(x), x


def test_images_that_do_not_pass_and_outputs_that_are_no_tensor_are_refused():
    with pytest.raises(
        InputError, match=r"shapes of 4 images of \(13,\) fails .* give the shape that the network takes"
    ):
        account(dense(), 4, (13,))
    with pytest.raises(InputError, match=r"shapes of 4 images of \(13,\) fails"):
        counted(dense(), 4, (13,))
    with pytest.raises(InputError, match="the network returns a tuple; an account needs one tensor"):
        account(Routed(Two(3, 2), {}, torch.zeros(2, 3)), 4, (3,))


@pytest.mark.parametrize("number", [0, -3, 2.5, True, "4"])
def test_impossible_numbers_are_refused(number):
    found = account(dense(), 4, (12,))
    for ask in (
        lambda: account(dense(), number, (12,)),
        lambda: counted(dense(), number, (12,)),
        lambda: found.at(number),
        lambda: per_epoch(found, 10, number),
    ):
        with pytest.raises(InputError, match=f"batch {number!r} is impossible; use a whole number from 1"):
            ask()
    with pytest.raises(InputError, match=f"images {number!r} is impossible"):
        per_epoch(found, number, 4)


def test_unknown_parts_and_parts_without_cost_are_refused():
    found = account(dense(), 4, (12,))
    with pytest.raises(InputError, match="part 'wieghts' is unknown: .* did you mean 'weights'"):
        found.total(("wieghts",))
    with pytest.raises(InputError, match="backpropagation spends nothing on svd, feedback"):
        relative_to_bp(found, ("svd", "feedback"))


@pytest.mark.parametrize("case", ["fa", "weight_mirror", "dfa", "ldfa_normative, released code"])
def test_backpropagations_account_is_that_of_the_network_without_a_rule(case):
    plain = account(Routed(retina(), {}, torch.zeros(2, *SHAPE).double()), 5, SHAPE)
    bp = account(routed_retina(case), 5, SHAPE).backpropagation()
    assert bp.table.identical(plain.table)
    assert bp.at(3).table.identical(plain.at(3).table)


def test_an_epoch_is_the_sum_of_its_steps_with_the_smaller_last_one():
    found = account(routed_retina("ldfa_normative, released code"), 8, SHAPE)
    assert per_epoch(found, 21, 8) == float(2 * found.total() + found.at(5).total())
    assert per_epoch(found, 16, 8) == float(2 * found.total())
    assert per_epoch(found, 5, 8) == float(found.at(5).total())
    # What grows with the batch does not care how images are batched; what does not is spent by the step.
    by_image, by_step = ("forward", "error", "weights", "feedback"), ("plasticity", "svd", "optimiser")
    assert per_epoch(found, 21, 8) == float(found.at(21).total(by_image) + 3 * found.total(by_step))


def test_the_table_has_the_layers_in_order_and_the_rest_last():
    with torch.device("meta"):
        network = transformer(depth=1).to("meta")
        routed = Routed(network, {"*": make_rule("dfa")}, torch.empty(2, 1, 8, 8, dtype=torch.double))
    table = account(routed, 5, (1, 8, 8)).table
    weighted = [name for name in table.layer.values if name in routed.weighted]
    assert table.dims == ("layer", "part") and tuple(table.part.values) == PARTS
    assert weighted == routed.weighted and table.layer.values[-1] == "rest"
    assert set(table.layer.values) - {"rest"} == {*routed.weighted, *(edge.target.module for edge in routed.edges)}


def test_rows_are_in_mflops_with_their_share_and_their_ratio_to_backpropagation():
    found = account(dense({"2": make_rule("dfa")}), 4, (12,), optimisers=0)
    *layers, total = rows(found)
    forward = [2 * 4 * 12 * 20 / 1e6, 2 * 4 * 20 * 5 / 1e6]
    assert [row["layer"] for row in layers] == ["0", "2", "rest"] and total["layer"] == "total"
    assert [row["forward"] for row in layers] == [*forward, 0]
    assert total["total"] == pytest.approx(float(found.total()) / 1e6)
    assert sum(row["share"] for row in layers) == pytest.approx(1) == total["share"]
    assert layers[1]["of BP"] == 1 and np.isnan(layers[2]["of BP"])  # 5 classes to 20 units, as W^T
    assert total["of BP"] == pytest.approx(relative_to_bp(found))
