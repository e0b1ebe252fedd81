"""Sign-concordant feedback (Liao, Leibo & Poggio 2016): whose sign, which magnitude, drawn when."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import CASES, CROSS_ENTROPY, everywhere, into, routed

from rfmodel.errors import InputError

NAMES = ["usf", "brsf", "frsf"]


def lay(name, kind="retina", seed=0, **options):
    make, data = CASES[kind]
    images, labels = data()
    return routed(make(), everywhere(name, **options), images, seed), images, labels


def do_step(model, images, labels, advance=True):
    optimiser = torch.optim.SGD(model.network.parameters(), lr=0.5)
    optimiser.zero_grad()
    CROSS_ENTROPY(model(images, labels), labels).backward()
    optimiser.step()
    if advance:
        model.advance()


def magnitudes(model):
    return [feedback.M.clone() for feedback in model.maps.values()]


def same(a, b):
    return [torch.equal(x, y) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("kind", CASES)
@pytest.mark.parametrize("name", NAMES)
def test_feedback_always_has_the_signs_of_the_weights(name, kind):
    model, images, labels = lay(name, kind)
    before = [feedback.effective().sign() for feedback in model.maps.values()]
    for _ in range(20):
        do_step(model, images, labels)
        for feedback in model.maps.values():
            assert torch.equal(feedback.effective().sign(), feedback.layer.weight.data.flatten(1).sign())
    assert not all(same(before, [f.effective().sign() for f in model.maps.values()]))  # some sign has changed


def test_uniform_magnitude_is_the_spread_of_the_weights_by_default():
    model, *_ = lay("usf")
    for feedback in model.maps.values():
        torch.testing.assert_close(feedback.M, feedback.layer.weight.data.std(), rtol=1e-6, atol=0)


def test_uniform_magnitude_can_be_given():
    model, *_ = lay("usf", magnitude=1.0)
    assert all(torch.equal(f.effective(), f.layer.weight.data.flatten(1).sign()) for f in model.maps.values())


def test_the_uniform_magnitude_belongs_to_the_weights_that_the_network_has():
    # Weights that were scaled after their initialisation have a magnitude of their own.
    make, data = CASES["perceptron"]
    network = make()
    with torch.no_grad():
        network.two.weight.mul_(7)
    (feedback,) = routed(network, into("two", "usf"), data()[0]).maps.values()
    torch.testing.assert_close(feedback.M, network.two.weight.data.std(), rtol=1e-6, atol=0)


@pytest.mark.parametrize("name", ["brsf", "frsf"])
def test_random_magnitudes_are_those_of_the_law_of_the_weights(name):
    # |R| of R ~ U(-b, b), b = sqrt(3) std, has mean b / 2 and standard deviation b / sqrt(12).
    make, data = CASES["retina"]
    network = make()
    (feedback,) = routed(network, into("head.dense", name), data()[0]).maps.values()
    bound = 3**0.5 * float(network.head.dense.weight.detach().std())
    error = bound / 12**0.5 / feedback.M.numel() ** 0.5
    assert float(feedback.M.min()) >= 0
    assert float(feedback.M.max()) <= bound * (1 + 1e-6)
    assert abs(float(feedback.M.mean()) - bound / 2) < 4 * error


def test_fixed_magnitudes_stay():
    model, images, labels = lay("frsf")
    before = magnitudes(model)
    for _ in range(3):
        do_step(model, images, labels)
    assert all(same(before, magnitudes(model)))
    assert not model.advances


def test_batchwise_magnitudes_are_drawn_anew_before_each_update():
    model, images, labels = lay("brsf")
    drawn = [magnitudes(model)]
    for _ in range(3):
        do_step(model, images, labels)
        drawn.append(magnitudes(model))
    assert not any(any(same(a, b)) for i, a in enumerate(drawn) for b in drawn[:i])


def test_batchwise_magnitudes_stay_within_an_update():
    model, images, labels = lay("brsf")
    before = magnitudes(model)
    for part in (slice(0, 4), slice(4, 9)):
        CROSS_ENTROPY(model(images[part], labels[part]), labels[part]).backward()
    assert all(same(before, magnitudes(model)))


def test_batchwise_magnitudes_depend_on_seed_edge_and_step_alone():
    first, images, labels = lay("brsf")
    second, *_ = lay("brsf")
    alone = routed(CASES["retina"][0](seed=4), into("vvs.conv2", "brsf"), images)
    other, *_ = lay("brsf", seed=1)
    do_step(first, images, labels)
    for model in (second, alone, other):
        torch.rand(17)  # the global state has no part in it
        model.advance()
    assert all(same(magnitudes(first), magnitudes(second)))
    assert not any(same(magnitudes(first), magnitudes(other)))
    # The same edge over other weights has the same draw, at another scale.
    (edge,) = alone.edges
    a, b = alone.maps[edge].M / alone.maps[edge].std, first.maps[edge].M / first.maps[edge].std
    torch.testing.assert_close(a, b, rtol=1e-6, atol=0)


def test_forgetting_to_advance_is_refused():
    model, images, labels = lay("brsf")
    do_step(model, images, labels, advance=False)
    with pytest.raises(InputError, match=r"the weights have changed .* call routed.advance\(\) after each optimiser"):
        model(images, labels)


def test_a_pass_without_a_step_needs_no_advance():
    model, images, labels = lay("brsf")
    for _ in range(2):
        CROSS_ENTROPY(model(images, labels), labels).backward()
    model.eval()
    do_step(model, images, labels, advance=False)
    model(images, labels)  # evaluation is no update


def test_weights_loaded_from_a_file_are_no_step():
    model, images, labels = lay("brsf")
    model(images, labels)
    model.load_state_dict(lay("brsf", seed=3)[0].state_dict())
    model(images, labels)


def test_a_model_that_was_cast_or_copied_needs_no_advance():
    model, images, labels = lay("brsf")
    model(images, labels)
    copy.deepcopy(model)(images, labels)
    model.float()
    model(images.float(), labels)


def test_a_restored_run_draws_on_from_where_it_was():
    # The draw of each update is that of its number, so a state dict must say how many updates were done.
    model, images, labels = lay("brsf")
    for _ in range(3):
        do_step(model, images, labels)
    restored, *_ = lay("brsf")
    restored.load_state_dict(model.state_dict())
    for one in (model, restored):
        do_step(one, images, labels)
    assert all(same(magnitudes(model), magnitudes(restored)))
