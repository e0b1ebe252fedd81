"""Diagnostics: each measure against its closed form, and a training that does not notice being measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from studies import TINY
from torch import nn

from rfmodel import datasets, diagnostics, protocols, store, study, training
from rfmodel.errors import InputError
from rfmodel.routing import Port, Routed, make_rule
from rfmodel.settings import Settings

NAMES = {*diagnostics.EDGES, *diagnostics.WHOLE}


def rotation(m: int, seed: int = 0) -> torch.Tensor:
    q, _ = torch.linalg.qr(torch.randn(m, m, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)))
    return q


@pytest.mark.parametrize("degrees", [0.0, 1e-3, 30.0, 90.0, 180.0])
def test_angle_is_that_by_which_a_vector_was_turned(degrees):
    turned = torch.tensor([math.cos(math.radians(degrees)), math.sin(math.radians(degrees))], dtype=torch.float64)
    assert diagnostics.angle(torch.tensor([3.0, 0.0]), 0.1 * turned) == pytest.approx(degrees, abs=1e-5)


def test_angle_of_lists_is_that_of_the_long_vectors():
    a, b = torch.randn(2, 7, dtype=torch.float64)
    parts = [(a[:3], b[:3]), (a[3:].reshape(2, 2), b[3:].reshape(2, 2))]
    assert diagnostics.angle_together(parts) == pytest.approx(diagnostics.angle(a, b))


def test_norm_ratio_is_the_factor_between_multiples():
    W = torch.randn(3, 5)
    assert diagnostics.norm_ratio(-2.5 * W, W) == pytest.approx(2.5)
    assert diagnostics.norm_ratio(0 * W, W) == 0.0


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e6])
def test_energy_passed_is_the_share_of_the_directions_that_P_reads(scale):
    basis, energies = rotation(4), torch.tensor([4.0, 3.0, 2.0, 1.0], dtype=torch.float64)
    rows = scale * energies.sqrt()[:, None] * basis
    assert diagnostics.energy_passed(rows, basis[:2]) == pytest.approx(0.7)
    mixed = torch.tensor([[2.0, 5.0], [0.0, 1e-3]], dtype=torch.float64) @ basis[:2]
    assert diagnostics.energy_passed(rows, mixed) == pytest.approx(0.7)  # the space counts, not its coordinates
    assert diagnostics.energy_passed(rows, basis) == pytest.approx(1.0)


def test_rows_of_P_that_repeat_each_other_pass_no_more():
    basis = rotation(6).float()
    repeated = torch.cat([basis[:2], 3 * basis[:2], basis[:1] - basis[1:2]])
    assert diagnostics.energy_passed(basis, repeated) == pytest.approx(2 / 6, abs=1e-6)
    assert diagnostics.energy_passed(basis, 0 * repeated) == 0.0


@pytest.mark.parametrize("samples", [3, 50])
def test_k_equal_directions_have_dimension_k(samples):
    k = 3
    rows = 7e-9 * rotation(10)[:k].repeat(samples // k, 1)
    shares = diagnostics.spectrum(rows)
    assert diagnostics.participation_ratio(shares) == pytest.approx(k)
    assert diagnostics.effective_rank(shares) == pytest.approx(k)
    assert float(shares.sum()) == pytest.approx(1.0)


def test_dimensions_of_a_given_spectrum_are_its_formulas():
    energies = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
    shares = diagnostics.spectrum(energies.sqrt()[:, None] * rotation(5))
    assert diagnostics.participation_ratio(shares) == pytest.approx(16**2 / (64 + 16 + 4 + 1 + 1))
    # shares 1/2, 1/4, 1/8, 1/16, 1/16: an entropy of 1/2 + 2/4 + 3/8 + 4/16 + 4/16 bits
    assert diagnostics.effective_rank(shares) == pytest.approx(2**1.875)


def test_the_mean_error_is_part_of_the_spectrum():
    rows = torch.ones(20, 4)
    assert diagnostics.participation_ratio(diagnostics.spectrum(rows)) == pytest.approx(1.0)


def test_a_choice_of_rows_stands_for_all_of_a_feature_maps():
    columns = torch.eye(8).repeat(2048, 1)  # the error's direction is its column's: a regular stride would see one
    shares = diagnostics.spectrum(columns)
    assert diagnostics.participation_ratio(shares) == pytest.approx(8, rel=0.02)  # 4096 draws of 8, unequal by chance
    assert torch.equal(shares, diagnostics.spectrum(columns))


def test_orthonormal_rows_have_not_drifted_and_scaled_ones_have():
    P = rotation(6)[:4]
    assert diagnostics.orthonormality_drift(P) == pytest.approx(0.0, abs=1e-12)
    assert diagnostics.orthonormality_drift(2 * P) == pytest.approx(3.0)  # ||4 I - I||_F / sqrt(4)
    assert diagnostics.orthonormality_drift(0 * P) == pytest.approx(1.0)


@pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
def test_what_is_not_defined_is_nan_without_a_warning(bad):
    good, broken = torch.ones(3, 4), torch.full((3, 4), bad)
    found = [
        diagnostics.angle(good, broken),
        diagnostics.angle(broken, good),
        diagnostics.norm_ratio(good, broken),
        diagnostics.energy_passed(broken, good),
        diagnostics.participation_ratio(diagnostics.spectrum(broken)),
        diagnostics.effective_rank(diagnostics.spectrum(broken)),
    ]
    if bad != 0.0:
        found += [
            diagnostics.norm(broken),
            diagnostics.norm_ratio(broken, good),
            diagnostics.energy_passed(good, broken),
            diagnostics.orthonormality_drift(broken),
        ]
    assert all(math.isnan(value) for value in found), found
    assert math.isnan(diagnostics.angle_together([]))
    assert diagnostics.spectrum(torch.empty(0, 4)) is None


class Attended(nn.Module):
    """q and k side by side above a convolution, then a head: the layer before k in time is not before it in space."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.q, self.k = nn.Linear(8, 4), nn.Linear(8, 4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        h = self.norm(torch.relu(self.embed(x)))
        return self.head(self.drop(torch.tanh(self.q(h)) * self.k(h)))


def attended(rules, dtype=torch.float32) -> tuple[Routed, torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    images, labels = torch.randn(32, 6, dtype=dtype), torch.randint(3, (32,))
    return Routed(Attended().to(dtype), rules, images).to(dtype), images, labels


def test_a_signal_teaches_the_last_layer_on_its_way_first():
    routed, images, _ = attended({"*": "fa"})
    assert diagnostics.taught(routed, images) == {
        Port("q", "input"): "embed.weight",
        Port("k", "input"): "embed.weight",
        Port("head", "input"): "k.weight",
    }


def test_a_signal_teaches_no_layer_beyond_the_next_cut_and_none_that_is_frozen():
    network = nn.Sequential(nn.Linear(6, 5), nn.Linear(5, 4), nn.Linear(4, 4), nn.Linear(4, 3))
    network[2].weight.requires_grad_(False)
    routed = Routed(network, {"3": make_rule("fa"), "1": make_rule("fa")}, torch.randn(2, 6))
    assert diagnostics.taught(routed, torch.randn(2, 6)) == {
        Port("3", "input"): "1.weight",
        Port("1", "input"): "0.weight",
    }


def with_true_weights(routed: Routed) -> Routed:
    for edge, feedback in routed.maps.items():
        feedback.B.data.copy_(routed.network.get_submodule(edge.target.module).weight.data)
    return routed


def test_transposed_weights_are_at_no_angle_to_backpropagation():
    routed, images, labels = attended({"*": "fa"}, torch.float64)
    sample = diagnostics.diagnose(with_true_weights(routed), images, labels)
    assert set(sample) == NAMES
    for name in ("weight_angle", "signal_angle", "gradient_angle"):
        assert max(sample[name].values()) < 0.1, name
    assert sample["gradient_angle_all"] < 0.1
    for name in ("feedback_ratio", "signal_gain", "energy_passed"):
        assert list(sample[name].values()) == pytest.approx([1.0] * 3), name
    assert all(math.isnan(value) for value in sample["orthonormality_drift"].values())  # there is no P


def test_transposed_kernels_in_groups_are_at_no_angle_to_backpropagation():
    network = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 6, 3, groups=2, stride=2), nn.Flatten(), nn.LazyLinear(3)
    ).double()
    images, labels = torch.randn(8, 2, 9, 9, dtype=torch.float64), torch.randint(3, (8,))
    network(images)
    routed = Routed(network, {"2": "fa"}, images).double()
    sample = diagnostics.diagnose(with_true_weights(routed), images, labels)
    (edge,) = sample["weight_angle"]
    assert max(sample[name][edge] for name in ("weight_angle", "signal_angle", "gradient_angle")) < 0.1
    assert (sample["feedback_ratio"][edge], sample["signal_gain"][edge]) == pytest.approx((1.0, 1.0))
    assert sample["map_norm"][edge] == pytest.approx(float(network[2].weight.detach().norm()))  # zeros between groups
    assert 1 <= sample["participation_ratio"][edge] <= 6


def test_reversed_weights_point_the_other_way_at_twice_the_size():
    routed, images, labels = attended({"head": "fa"}, torch.float64)
    (feedback,) = with_true_weights(routed).maps.values()
    feedback.B.data.mul_(-2)
    sample = diagnostics.diagnose(routed, images, labels)
    (edge,) = sample["weight_angle"]
    for name in ("weight_angle", "signal_angle", "gradient_angle"):
        assert sample[name][edge] > 179.9, name
    assert (sample["feedback_ratio"][edge], sample["signal_gain"][edge]) == pytest.approx((2.0, 2.0))
    # The head itself learns by backpropagation, so that the whole is not reversed.
    assert 0 < sample["gradient_angle_all"] < 180


def test_low_rank_feedback_passes_what_its_rows_read():
    routed, images, labels = attended({"head": make_rule("ldfa", rank=2)}, torch.float64)
    (feedback,) = routed.maps.values()
    feedback.P.data.copy_(2 * torch.eye(3)[:2])
    sample = diagnostics.diagnose(routed, images, labels)
    with torch.no_grad(), routed.exact() as network:
        delta = network.eval()(images).softmax(1) - nn.functional.one_hot(labels, 3)  # of the cross-entropy, times N
    (edge,) = sample["energy_passed"]
    energy = delta.square().sum(0)
    assert sample["energy_passed"][edge] == pytest.approx(float(energy[:2].sum() / energy.sum()))
    assert sample["orthonormality_drift"][edge] == pytest.approx(3.0)
    # errors of a softmax sum to zero over its classes, so that three of them have two dimensions
    assert 1 < sample["participation_ratio"][edge] <= sample["effective_rank"][edge] <= 2 + 1e-9


def test_an_edge_that_runs_against_no_layer_has_no_weights_to_compare_with():
    routed, images, labels = attended({"head": "dfa"})
    sample = diagnostics.diagnose(routed, images, labels)
    (edge,) = sample["map_norm"]
    assert math.isnan(sample["weight_angle"][edge]) and math.isnan(sample["feedback_ratio"][edge])
    assert 0 <= sample["signal_angle"][edge] <= 180
    (feedback,) = routed.maps.values()
    assert sample["map_norm"][edge] == pytest.approx(float(feedback.B.norm()), rel=1e-6)


@pytest.mark.parametrize("value", [0.0, math.nan])
def test_silent_and_broken_maps_give_nan_and_no_exception(value):
    routed, images, labels = attended({"head": "fa"})
    (feedback,) = routed.maps.values()
    feedback.B.data.fill_(value)
    sample = diagnostics.diagnose(routed, images, labels)
    for name in ("weight_angle", "signal_angle", "gradient_angle"):
        assert all(math.isnan(v) for v in sample[name].values()), name
    assert list(sample["signal_gain"].values()) == pytest.approx([value], nan_ok=True)


def test_backpropagation_has_nothing_to_diagnose():
    routed, images, labels = attended({})
    assert diagnostics.diagnose(routed, images, labels) == {}


def passes(network: nn.Module, call) -> tuple[int, int]:
    """Return how often the first layer ran forward, and how often its weight's gradient was computed."""
    forward, backward = [], []
    first = network.embed
    handles = [
        first.register_forward_hook(lambda *_: forward.append(1)),
        first.weight.register_hook(lambda _: backward.append(1)),
    ]
    call()
    for handle in handles:
        handle.remove()
    return len(forward), len(backward)


@pytest.mark.parametrize("rule", ["fa", "dfa"])
def test_a_sample_costs_one_pass_under_the_rule_and_one_of_backpropagation(rule):
    routed, images, labels = attended({"*": rule})
    teaches = diagnostics.taught(routed, images)
    assert passes(routed.network, lambda: diagnostics.diagnose(routed, images, labels, teaches)) == (2, 2)
    routed, images, labels = attended({})
    watch = diagnostics.Watch(routed, images, labels, every=1)
    assert passes(routed.network, lambda: watch.at(0)) == (0, 0)


def test_a_sample_leaves_modes_gradients_buffers_and_random_state_as_they_were():
    routed, images, labels = attended({"head": make_rule("ldfa", rank=2, q="hebbian")})
    routed.train()
    routed.network.norm.eval()
    nn.functional.cross_entropy(routed(images, labels), labels).backward()
    modes = [module.training for module in routed.modules()]
    state = {name: value.clone() for name, value in routed.state_dict().items()}
    gradients = [None if p.grad is None else p.grad.clone() for p in routed.parameters()]
    random = torch.random.get_rng_state()
    diagnostics.diagnose(routed, images, labels)
    assert [module.training for module in routed.modules()] == modes
    assert all(torch.equal(value, state[name]) for name, value in routed.state_dict().items())
    for p, before in zip(routed.parameters(), gradients, strict=True):
        assert (p.grad is None and before is None) or torch.equal(p.grad, before)
    assert torch.equal(torch.random.get_rng_state(), random)


WATCHED = {
    "ldfa": {"rank": 2, "q": "hebbian"},
    "ldfa_normative": {"rank": 2},
    "kolen_pollack": {},
    "weight_mirror": {},
    "brsf": {},
    "drtp": {},
}


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("rule", WATCHED)
def test_training_with_dropout_and_batch_norm_does_not_notice_being_watched(rule, autocast):
    ends = []
    for every in (0, 1):
        routed, images, labels = attended({"*": make_rule(rule, **WATCHED[rule])})
        routed.train()
        optimiser = torch.optim.Adam([*routed.network.parameters(), *routed.feedback_parameters()])
        watch = diagnostics.Watch(routed, images, labels, every)
        torch.manual_seed(1)
        for step in range(4):
            optimiser.zero_grad()
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                logits = routed(images, labels)
            nn.functional.cross_entropy(logits.float(), labels).backward()
            watch.at(3 * step)
            optimiser.step()
            watch.at(3 * step + 1)
            routed.advance([optimiser])
            watch.at(3 * step + 2)
        assert len(watch.samples) == 12 * every
        ends.append(routed.state_dict())
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def data():
    return datasets.load("natural_patches", size=8, train_per_class=20, test_per_class=5)


def of(tiny, condition: str, **train) -> Settings:
    (run,) = protocols.load(tiny, only=["seed=0", f"condition={condition}"]).runs
    return run.settings.model_copy(update={"train": run.settings.train.model_copy(update=train)})


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_weights_of_a_run_are_bitwise_the_same_with_and_without_diagnostics(tiny, data, precision):
    plain = of(tiny, "LDFA, r = 2", precision=precision)
    watched = of(tiny, "LDFA, r = 2", precision=precision, diagnose_every=3, diagnose_images=16)
    a, b = training.train(plain, data), training.train(watched, data)
    assert a.diagnostics == {} and len(b.diagnostics) > 3
    states = a.routed.state_dict(), b.routed.state_dict()
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())
    assert a.history["loss_test"] == b.history["loss_test"]


def test_samples_are_at_the_start_every_k_steps_and_the_end(tiny, data):
    steps = 2 * -(-len(data.train) // 32)
    result = training.train(of(tiny, "LDFA, r = 2", diagnose_every=5), data)
    assert list(result.diagnostics) == [*range(0, steps, 5), *([steps] if steps % 5 else [])]
    rare = training.train(of(tiny, "LDFA, r = 2", diagnose_every=10**6), data)
    assert list(rare.diagnostics) == [0, steps]
    (edge,) = rare.diagnostics[0]["energy_passed"]
    assert rare.diagnostics[steps]["energy_passed"][edge] == result.diagnostics[steps]["energy_passed"][edge]


def test_diagnostics_are_taken_on_validation_images_of_every_class(tiny, data, monkeypatch):
    seen = []
    monkeypatch.setattr(training, "Watch", lambda routed, images, labels, every, samples: seen.append((images, labels)))
    training._watch(training.Trained(None), of(tiny, "LDFA, r = 2", diagnose_every=1, diagnose_images=12), data)
    ((images, labels),) = seen
    assert sorted(labels.tolist()) == list(range(12))
    levels = ((images * 0.5 + 0.5) * 255).round().to(torch.uint8)
    known = {
        (image.numpy().tobytes(), int(label)) for image, label in zip(*vars(data.validation).values(), strict=True)
    }
    assert {(i.contiguous().numpy().tobytes(), int(k)) for i, k in zip(levels, labels, strict=True)} <= known


def test_a_diverged_run_keeps_its_samples_and_ends_without_an_exception(tiny, data):
    sgd = of(tiny, "LDFA, r = 2").train.optimiser.model_copy(update={"name": "sgd", "learning_rate": 1e12})
    result = training.train(of(tiny, "LDFA, r = 2", optimiser=sgd, precision="fp32", diagnose_every=1), data)
    assert result.state == "diverged"
    first, *_, last = result.diagnostics.values()
    assert np.isfinite(list(first["map_norm"].values())).all()
    assert math.isnan(last["gradient_angle_all"])


def test_steps_between_samples_are_a_whole_number_from_zero(tiny):
    with pytest.raises(InputError, match="train.diagnose_every' = -1: should be greater than or equal to 0"):
        protocols.load(tiny, ["train.diagnose_every=-1"])
    with pytest.raises(InputError, match="train.diagnose_images' = 0: should be greater than or equal to 1"):
        protocols.load(tiny, ["train.diagnose_images=0"])


def test_a_study_of_runs_with_other_steps_and_edges_is_one_dataset(tiny, tmp_path):
    folder = tmp_path / "study"
    for only, sets in (
        (["seed=0", "condition=BP, wide"], ["train.diagnose_every=4"]),
        (["seed=0", "condition=LDFA, r = 2"], ["train.diagnose_every=4"]),
        (["seed=1", "condition=LDFA, r = 2"], ["train.diagnose_every=5"]),
        (["seed=1", "condition=BP, bottleneck 2"], ["rules='dfa'", "train.diagnose_every=0"]),
        (["seed=0", "condition=BP, bottleneck 2"], ["rules='dfa'", "train.diagnose_every=5"]),
    ):
        study.run_study(protocols.load(tiny, sets, only), folder)
    found = store.open_study(folder)
    assert set(found["step"].values) >= {0, 4, 5, 8, 10}
    assert found["energy_passed"].sizes == {"run": 5, "step": found.sizes["step"], "edge": found.sizes["edge"]}
    assert found["gradient_angle_all"].dims == ("run", "step")
    assert found["signal_angle"].attrs["units"] == "degree"
    assert set(found["signal_angle"].attrs) == {"units", "long_name"}
    held = found["signal_angle"].notnull().any(("step", "edge"))
    watched = {(str(c), int(s)) for c, s in zip(found["condition"].values, found["seed"].values, strict=True)}
    assert watched == {
        ("BP, wide", 0),
        ("BP, bottleneck 2", 0),
        ("BP, bottleneck 2", 1),
        ("LDFA, r = 2", 0),
        ("LDFA, r = 2", 1),
    }
    assert held.values.tolist() == [False, True, False, True, True]
    for run, every in ((3, 4), (4, 5)):
        steps = found["step"].values[found["gradient_angle_all"][run].notnull()]
        assert set(steps[:-1]) == set(range(0, steps[-1], every))


def test_under_a_schedule_of_the_rank_only_the_rows_in_force_are_measured():
    torch.manual_seed(0)
    network, images, labels = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 5)), torch.randn(9, 6), [0, 1, 2]
    labels = torch.tensor(labels * 3)
    rule = make_rule("ldfa", rank=1, schedule=[[2, 5]])
    routed = Routed(network, {"2": rule}, images)
    ((edge, feedback),) = routed.maps.items()
    for epoch, rank in ((1, 1), (2, 5)):
        routed.start_epoch(epoch)
        seen = diagnostics.diagnose(routed, images, labels)
        rows = routed.observe(images, labels).arriving[edge]
        P = feedback.P[:rank]
        assert seen["energy_passed"][str(edge)] == pytest.approx(diagnostics.energy_passed(rows, P))
        assert seen["orthonormality_drift"][str(edge)] == pytest.approx(diagnostics.orthonormality_drift(P))
    assert seen["energy_passed"][str(edge)] == pytest.approx(1)  # five rows read all five channels
