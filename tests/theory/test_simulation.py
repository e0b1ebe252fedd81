"""The discrete rules are the engine's own, step by step, and go over into the flow as the step goes to nought."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from linear_cases import RULES, drawn, followed, literal_samples, small
from torch import nn

from rfmodel.errors import InputError
from rfmodel.routing import Routed, make_rule
from rfmodel.theory.equations import learning, overlap
from rfmodel.theory.initial import Weights, rotated
from rfmodel.theory.simulation import full_batch, increments, of_samples, online, root, simulate, steps_of
from rfmodel.theory.tasks import LinearTask, transposed

LARGE = {"forward": 0.5}
KEPT = ("W1", "W2", "Q", "P")


def keep(_, weights):
    return {name: getattr(weights, name).copy() for name in KEPT}


def run(settings, task, weights, times=None, observe=keep, manner="full_batch"):
    if times is None:
        times = np.linspace(0, settings.integration.duration, settings.integration.points)
    return simulate(settings.feedback, settings.integration, task, weights, times, observe, manner)


def tensors(weights):
    return Weights(*(torch.from_numpy(np.array(one)) for one in weights))


# The engine: nn.Linear layers under the package's own rule, plain descent of half the mean squared error.

ENGINES = {
    "adaptive_q": make_rule("ldfa", rank=2, p="fixed", q="hebbian", decay=0.1),
    "normative": make_rule("ldfa_normative", rank=2),
    "oja by the residual": make_rule("ldfa", rank=2, normalise="none", decay=0.1),
    "oja by the residual, Q Hebbian": make_rule("ldfa", rank=2, normalise="none", q="hebbian", decay=0.1),
    "fa": make_rule("ldfa", rank=2, p="fixed", q="fixed"),
    "gd": make_rule("bp"),
}


def engine(name, weights, step, rate):
    """The routed network of one seed's weights, and its optimiser."""
    W1, W2, Q, P = (torch.from_numpy(np.array(one)) for one in weights)
    network = nn.Sequential(nn.Linear(12, 8, bias=False), nn.Linear(8, 6, bias=False)).double()
    network[0].weight.data, network[1].weight.data = W1, W2
    model = Routed(network, {"1": ENGINES[name]}, torch.zeros(1, 12).double()).double()
    for feedback in model.maps.values():
        feedback.Q.data, feedback.P.data = Q.T.contiguous(), P
    groups = [{"params": model.network.parameters()}]
    if model.feedback_parameters():
        groups.append({"params": model.feedback_parameters(), "lr": step * rate})
    return model, torch.optim.SGD(groups, lr=step)


def trained(model, optimiser, x, y, steps):
    for _ in range(steps):
        optimiser.zero_grad()
        (0.5 * (y - model(x)).square().sum(1).mean()).backward()
        optimiser.step()
        maps = list(model.maps.values())
        yield {
            "W1": model.network[0].weight.data.numpy().copy(),
            "W2": model.network[1].weight.data.numpy().copy(),
            **({"Q": maps[0].Q.data.numpy().T.copy(), "P": maps[0].P.data.numpy().copy()} if maps else {}),
        }


def bridged(name):
    if name == "oja by the residual, Q Hebbian":
        return small("oja by the residual", learn_q=True, decay=0.1, rate=0.5, initial=LARGE)
    decay = 0.1 if name in ("adaptive_q", "oja by the residual") else 0.0
    return small(name, decay=decay, rate=0.5, initial=LARGE)


@pytest.mark.parametrize("name", ENGINES)
def test_full_batch_steps_are_the_engines_on_the_samples_themselves(name):
    settings = bridged(name).model_copy(
        update={"integration": small(integration={"step": 0.05, "duration": 1.0, "points": 21}).integration}
    )
    task, weights = drawn(settings)
    samples = [literal_samples(np.random.default_rng(seed), A, 0.3, 30) for seed, A in enumerate(task.A)]
    io, oo = (np.stack([Y @ other(X, Y).T / 30 for X, Y in samples]) for other in (lambda X, _: X, lambda _, Y: Y))
    seen = run(settings, LinearTask.of_moments(task.A, io, oo, 4, 0.3, 30), weights).seen
    for seed, (X, Y) in enumerate(samples):
        model, optimiser = engine(name, weights.of_seeds(seed), 0.05, 0.5)
        x, y = torch.from_numpy(X.T.copy()), torch.from_numpy(Y.T.copy())
        for step, expected in enumerate(trained(model, optimiser, x, y, 20), 1):
            for one, value in expected.items():
                # Rounding alone: the same sums in another order, twenty times.
                np.testing.assert_allclose(seen[one][step, seed], value, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ENGINES)
def test_a_step_on_some_samples_is_the_engines(name):
    settings = bridged(name)
    task, weights = drawn(settings)
    rng = np.random.default_rng(0)
    x, y = torch.from_numpy(rng.normal(size=(2, 9, 12))), torch.from_numpy(rng.normal(size=(2, 9, 6)))
    held = tensors(weights)
    moved = increments(settings.feedback, held, *of_samples(settings.feedback, held, x, y), 0.0)
    for seed in range(2):
        model, optimiser = engine(name, weights.of_seeds(seed), 1.0, 0.5)
        (after,) = trained(model, optimiser, x[seed], y[seed], 1)
        for one in moved:
            step = after[one] - getattr(weights, one)[seed]
            np.testing.assert_allclose(moved[one][seed].numpy(), step, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_whitened_samples_in_a_batch_are_the_full_batch(name):
    settings = small(name, initial=LARGE, decay=0.1)
    task, weights = drawn(settings)
    X, Y = (np.stack(part) for part in zip(*(literal_samples(np.random.default_rng(0), A, 0.3, 30) for A in task.A),
                                           strict=True))  # fmt: skip
    task = LinearTask.of_moments(task.A, Y @ transposed(X) / 30, Y @ transposed(Y) / 30, 4, 0.3, 30)
    held, x, y = tensors(weights), *(torch.from_numpy(transposed(one).copy()) for one in (X, Y))
    literal = increments(settings.feedback, held, *of_samples(settings.feedback, held, x, y), 0.0)
    moments = increments(settings.feedback, held, *full_batch(settings.feedback, task)(held), 0.0)
    assert literal.keys() == moments.keys() == set(learning(settings.feedback))
    for one, value in literal.items():
        torch.testing.assert_close(value, moments[one], rtol=0, atol=1e-12)


@pytest.mark.parametrize("samples", [0, 20])
def test_online_samples_have_the_second_moments_of_the_task(samples):
    settings = small("oja by targets", task={"noise": 0.5, "samples": samples}, initial={"forward": 1e-9})
    task, weights = drawn(settings)
    batch = 40_000
    E, signals, share = online(settings.feedback, task, batch)(tensors(weights))
    # At W2 W1 = 0 E is <y x^T>; entries of 40 000 products of numbers of deviation 2 deviate by 0.02; five times that.
    np.testing.assert_allclose(E.numpy(), task.sigma_io, atol=0.1)
    second = (signals.mT @ signals / share).numpy()
    np.testing.assert_allclose(second, task.sigma_oo, atol=0.2)
    assert share == 1 / batch


def test_seeds_of_one_task_see_samples_of_their_own():
    settings = small("oja by targets")
    task, weights = drawn(settings)
    twice = task.of_seeds([0, 0])
    _, signals, _ = online(settings.feedback, twice, 5)(tensors(weights))
    assert (signals[0] - signals[1]).abs().min() > 0


def test_online_learning_without_noise_comes_to_the_solution():
    # Where every sample can be fitted the steps' own noise vanishes with the error.
    # All six modes have a singular value, as one of 0 is forgotten like 1 / t only; the least decays like exp(-2 s t).
    steps = {"step": 0.02, "duration": 30, "points": 2}
    settings = small("gd", task={"spectrum": {"modes": 6}}, initial={"forward": 0.1}, integration=steps)
    task, weights = drawn(settings)
    last = run(settings, task, weights, manner="online").last
    np.testing.assert_allclose(last.W2 @ last.W1, task.sigma_io, atol=1e-6)


def largest_difference(name, step):
    steps = {"step": step, "duration": 6.0, "points": 31}
    settings = small(name, initial={"forward": 0.1}, integration=steps, annealing=0.2)
    task, weights = drawn(settings)
    times = np.linspace(0, 6.0, 31)
    seen, steps = followed(settings, task, weights, times), run(settings, task, weights, times).seen
    worst = 0.0
    for i in range(31):
        bar = rotated(Weights(*(steps[one][i] for one in KEPT)), task)
        flow = overlap(task.S, seen["W2"][i], seen["W1"][i], 4)
        worst = max(worst, np.abs(overlap(task.S, bar.W2, bar.W1, 4) - flow).max())
    return worst


@pytest.mark.parametrize("name", RULES)
def test_the_difference_from_the_flow_halves_with_the_step(name):
    # Euler's error is c eta + O(eta^2): ratios within a tenth of 2 at three steps, and nearer for the smaller pair.
    coarse, middle, fine = (largest_difference(name, step) for step in (0.02, 0.01, 0.005))
    assert coarse / middle == pytest.approx(2, rel=0.1)
    assert middle / fine == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("manner", ["full_batch", "online"])
def test_seeds_at_once_are_seeds_one_by_one(name, manner):
    settings = small(name, seeds=3, task={"noise": 0.2}, initial=LARGE, integration={"duration": 2.0, "batch": 5})
    task, weights = drawn(settings)
    together = run(settings, task, weights, manner=manner).seen
    few = settings.model_copy(update={"seeds": 1})
    alone = run(few, task.of_seeds(slice(0, 1)), weights.of_seeds(slice(0, 1)), manner=manner).seen
    for one in KEPT:
        # Of a hundred steps' rounding, by sums in another order.
        np.testing.assert_allclose(together[one][:, :1], alone[one], rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", RULES)
def test_rotating_task_and_weights_together_changes_no_overlap(name):
    settings = small(name, task={"noise": 0.2, "samples": 20}, initial=LARGE, integration={"duration": 2.0})
    task, weights = drawn(settings)
    bar = LinearTask.of_moments(task.S, task.S, task.rotated_oo, 4, 0.2, 20)
    one = run(settings, task, weights)
    other = run(settings, bar, rotated(weights, task))
    for a, b in zip(rotated(one.last, task), other.last, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-12)


def test_between_two_steps_weights_are_on_the_line_from_one_to_the_other():
    settings = small("oja by targets", initial=LARGE, integration={"step": 0.1, "duration": 0.5})
    task, weights = drawn(settings)
    times = np.array([0.0, 0.1, 0.125, 0.2, 0.5])
    followed = run(settings, task, weights, times)
    assert followed.evaluations == steps_of(settings.integration) == 5
    for one in KEPT:
        at = followed.seen[one]
        np.testing.assert_array_equal(at[0], getattr(weights, one))
        np.testing.assert_allclose(at[2], at[1] + 0.25 * (at[3] - at[1]), atol=1e-14)
        np.testing.assert_allclose(at[4], getattr(followed.last, one), atol=1e-14)


def test_weights_that_were_given_are_left_alone():
    settings = small("oja, Q Hebbian", initial=LARGE, integration={"duration": 0.5})
    task, weights = drawn(settings)
    before = Weights(*(one.copy() for one in weights))
    run(settings, task, weights)
    for a, b in zip(weights, before, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("duration", "step", "steps"), [(1.0, 0.1, 10), (1.0, 0.3, 4), (40.0, 0.02, 2000)])
def test_steps_reach_the_duration(duration, step, steps):
    assert steps_of(small(integration={"duration": duration, "step": step}).integration) == steps


def test_a_root_of_a_covariance_is_one_also_where_it_is_singular():
    rows = np.random.default_rng(0).normal(size=(2, 5, 3))
    covariance = rows @ transposed(rows)
    N = root(covariance)
    np.testing.assert_allclose(N @ transposed(N), covariance, atol=1e-13)


def test_weights_that_are_not_finite_at_the_beginning_are_refused():
    settings = small()
    task, weights = drawn(settings)
    weights.W1[0, 0, 0] = np.nan
    with pytest.raises(InputError, match="the state at the beginning holds 1 entries that are not finite"):
        run(settings, task, weights)
