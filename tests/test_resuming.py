"""A training that is interrupted at any step and taken up again ends, bit by bit, as one that was not."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given, settings, strategies
from interrupting import Interrupted, assert_equal, checkpoints, cut, stop
from pictures import encoded, smooth

from rfmodel import datasets, training
from rfmodel.errors import InputError
from rfmodel.routing.rules import RULES
from rfmodel.seen import Seen
from rfmodel.settings import Settings

STEPS = 4  # an epoch
RULED = {
    "bp": {},
    "fa": {},
    "usf": {},
    "brsf": {},
    "frsf": {},
    "kolen_pollack": {},
    "weight_mirror": {"every": 2, "samples": 8},
    "dfa": {},
    "sparse_dfa": {"density": 0.2},
    "drtp": {},
    "ldfa": {"rank": 3, "q": "hebbian", "schedule": [[2, 2], [3, 3]]},
    "dldfa": {"rank": 2},
    "ldfa_normative": {"rank": 2, "init": "svd", "refactor_every": 3, "moments": "reset", "svd_iterations": 2},
    "skip": {"k": 1},
    "partition": {"parts": {"layer*": "kolen_pollack", "logits": {"name": "ldfa", "rank": 2}}},
    "ssa": {"schedule": {"every": 1, "floor": 0.5}, "retract_every": 3, "aligns": "both"},
    "ssa2024": {"schedule": {"kind": "gradient", "every": 1}},
    "ssa2025": {"schedule": {"kind": "energy", "every": 1, "energy": 0.8}, "feedback": "dense"},
    "svd_bp": {"schedule": {"kind": "energy", "every": 2, "energy": 0.7}, "moments": "reset"},
    "predsim": {"features": 16},
    "auglocal": {},
    "pepita": {},
    "svd": {"rule": "fa", "schedule": {"every": 1, "floor": 0.4}, "project": "sphere"},
}
MLP = {"name": "mlp", "width": 8, "depth": 2}
NETWORKS = {
    "mlp": MLP,
    "mlp, batch norm": MLP | {"batch_norm": True},
    "retina_vvs, noise": {"width": 4, "kernel": 3, "depth": 1, "hidden": 8, "bottleneck": 4, "dropout": 0.3}
    | {"input_noise": 0.1, "retina_noise": 0.1, "noise": "always"},
    "small_conv": {"name": "small_conv", "width": 0.125, "batch_norm": True, "dropout": 0.2},
    "vit": {"name": "vit", "dim": 8, "depth": 1, "heads": 2, "patch": 4},
}
OPTIMISERS = {
    "rmsprop": {"name": "rmsprop"},
    "rmsprop, momentum": {"name": "rmsprop", "options": {"momentum": 0.5, "centered": True}},
    "adam": {"name": "adam", "schedule": "exponential", "gamma": 0.5},
    "adamw": {"name": "adamw", "weight_decay": 0.1, "options": {"amsgrad": True}, "schedule": "cosine", "warmup": 0.6},
    "sgd": {"name": "sgd", "options": {"momentum": 0.9, "nesterov": True}, "schedule": "step", "milestones": [1, 2]}
    | {"gamma": 0.5},
    "sgd, plain": {"name": "sgd", "schedule": "inverse_time", "gamma": 0.1},
}


@pytest.fixture(scope="module")
def data():
    return datasets.load("natural_patches", size=8, train_per_class=6, test_per_class=3, validation=0.1)


def asked(**given) -> Settings:
    train = {"epochs": 3, "batch": 16, "precision": "fp32"} | given.pop("train", {})
    return Settings.model_validate(
        {"network": MLP, "data": {"size": 8}, "fields": {"layers": []}, **given, "train": train}
    )


def test_every_registered_rule_is_interrupted_here():
    assert set(RULED) == set(RULES)


@pytest.mark.parametrize("name", RULED)
def test_every_rule_goes_on_as_if_it_had_not_been_interrupted(name, data, tmp_path):
    calibrate = int(not name.startswith("ssa"))  # a local loss weighs its own error
    chosen = asked(rules={"*": {"name": name, **RULED[name]}}, train={"calibrate": calibrate, "diagnose_every": 3})
    whole = training.train(chosen, data)
    steps = -(-len(data.train) // 16)
    assert steps == STEPS and len(data.train) % 16  # a last batch of fewer images
    updates = sorted((len(name) % STEPS + 1, 2 * STEPS - 1))  # somewhere in the first epoch, and late in the second
    assert_equal(whole, cut(chosen, data, tmp_path / "run.checkpoint", updates))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_every_kind_of_network_goes_on_in_both_precisions(network, precision, data, tmp_path):
    chosen = asked(network=NETWORKS[network], rules="fa", train={"precision": precision, "average": 0.9, "epochs": 2})
    whole = training.train(chosen, data)
    assert_equal(whole, cut(chosen, data, tmp_path / "run.checkpoint", [3, STEPS + 2]))


@strategies.composite
def trainings(draw):
    """Settings of a tiny training, the updates at which it is interrupted, and how far its checkpoints lie apart."""
    one_of = lambda values: draw(strategies.sampled_from(values))  # noqa: E731
    epochs = one_of([1, 2, 3])
    train = {
        "epochs": epochs,
        "batch": one_of([16, 48, 64]),
        "optimiser": OPTIMISERS[one_of(sorted(OPTIMISERS))] | {"learning_rate": 1e-3},
        "feedback": one_of([None, {"name": "adam", "learning_rate": 1e-2}]),
        "average": one_of([0.0, 0.8]),
        "channels_last": one_of([True, False]),
        "precision": one_of(["fp32", "bf16"]),
        "clip": one_of([None, 0.01]),
        "label_smoothing": one_of([0.0, 0.1]),
        "calibrate": one_of([0, 1]),
        "diagnose_every": one_of([0, 1, 4]),
        "augment": one_of(
            [{}, {"flip": True, "shift": 0.2}, {"crop": 1, "flip": True, "cutout": 3}, {"rotation": 20.0, "shift": 0.1}]
        ),
    }
    name = one_of(["bp", "fa", "brsf", "kolen_pollack", "ldfa", "weight_mirror", "dfa"])
    rules = {"*": {"name": name, **RULED[name]}}
    chosen = asked(network=NETWORKS[one_of(sorted(NETWORKS))], rules=rules, train=train, seed=one_of([0, 7]))
    updates = draw(strategies.lists(strategies.integers(1, 12 * epochs), max_size=3))
    return chosen, sorted(updates), one_of(["1 step", "2 steps", "5 steps", "1 epoch", "2 epochs"])


def check_anywhere(data, tmp_path_factory, case):
    chosen, updates, every = case
    steps = -(-len(data.train) // chosen.train.batch)
    updates = sorted({1 + (update - 1) % (steps * chosen.train.epochs) for update in updates})
    whole = training.train(chosen, data)
    found = cut(chosen, data, tmp_path_factory.mktemp("run") / "run.checkpoint", updates, every)
    assert_equal(whole, found)


@settings(max_examples=8, deadline=None, derandomize=True, database=None)
@given(case=trainings())
def test_a_training_may_be_interrupted_anywhere(data, tmp_path_factory, case):
    check_anywhere(data, tmp_path_factory, case)


@pytest.mark.slow
@settings(max_examples=100, deadline=None, database=None)
@given(case=trainings())
def test_a_training_may_be_interrupted_anywhere_at_length(data, tmp_path_factory, case):
    check_anywhere(data, tmp_path_factory, case)


def test_checkpoints_change_nothing(data, tmp_path):
    chosen = asked(network=NETWORKS["small_conv"], rules={"*": {"name": "ldfa", "rank": 2}})
    whole, kept = training.train(chosen, data), training.train(chosen, data, checkpoints=checkpoints(tmp_path / "c"))
    assert_equal(whole, kept)
    assert (kept.resumed, (tmp_path / "c").is_file(), (tmp_path / "c.previous").is_file()) == (0, True, True)


def test_each_step_of_a_training_is_one_to_go_on_from(data, tmp_path):
    chosen = asked(network=NETWORKS["mlp, batch norm"], rules="brsf", train={"epochs": 2, "augment": {"crop": 2}})
    whole = training.train(chosen, data)
    for update in range(1, 2 * STEPS + 1):
        found = cut(chosen, data, tmp_path / f"{update}.checkpoint", [update])
        assert_equal(whole, found)
        assert found.resumed == (update > 1)


def test_a_training_taken_up_at_every_step_knows_how_often(data, tmp_path):
    chosen = asked(rules="kolen_pollack", train={"epochs": 2})
    found = cut(chosen, data, tmp_path / "c", range(1, 2 * STEPS + 1))
    assert_equal(training.train(chosen, data), found)
    assert found.resumed == 2 * STEPS - 1  # before the first update there was nothing to take up


def test_an_interruption_from_progress_right_after_the_last_step_costs_that_epoch_no_more(data, tmp_path):
    chosen = asked(train={"epochs": 2})

    def last(epoch, step, loss):
        if (epoch, step) == (2, STEPS):
            raise Interrupted

    with pytest.raises(Interrupted):
        training.train(chosen, data, progress=last, checkpoints=checkpoints(tmp_path / "c"))
    seen = []
    found = training.train(
        chosen, data, progress=lambda *told: seen.append(told[:2]), checkpoints=checkpoints(tmp_path / "c")
    )
    assert seen == [(2, STEPS)]
    assert_equal(training.train(chosen, data), found)


def test_a_training_that_has_ended_is_taken_up_without_a_step(data, tmp_path):
    chosen = asked(rules="fa", train={"diagnose_every": 5, "average": 0.9})
    whole = training.train(chosen, data, checkpoints=checkpoints(tmp_path / "c"))
    before = (tmp_path / "c").read_bytes()
    again = training.train(chosen, data, progress=stop, visits={1: stop}, checkpoints=checkpoints(tmp_path / "c"))
    assert_equal(whole, again)
    assert again.resumed == 1 and again.history["images_per_second"][1:] == whole.history["images_per_second"][1:]
    assert (tmp_path / "c").read_bytes() == before  # nor is it kept again


@pytest.mark.parametrize(("decay", "epochs", "update"), [(250.0, 2, 1), (250.0, 2, 6), (250.0, 2, 10), (2e4, 0, 2)])
def test_a_training_that_diverges_does_so_after_an_interruption_too(decay, epochs, update, data, tmp_path, monkeypatch):
    monkeypatch.setattr("rfmodel.loop.LOOK", 3)
    grown = {"name": "sgd", "learning_rate": 0.01, "weight_decay": decay}  # weights change sign and grow with each step
    chosen = asked(network=MLP | {"depth": 4}, train={"optimiser": grown, "epochs": 4})
    whole = training.train(chosen, data)
    assert (whole.state, whole.epochs) == ("diverged", epochs)
    assert_equal(whole, cut(chosen, data, tmp_path / "c", [update]))
    again = training.train(chosen, data, visits={1: stop}, checkpoints=checkpoints(tmp_path / "c"))
    assert_equal(whole, again)


def test_visits_and_diagnostics_come_once_each(data, tmp_path):
    chosen = asked(rules="fa", train={"epochs": 2, "diagnose_every": 2})

    class Gathered:
        def __init__(self):
            self.seen = []

        def visits(self):
            return {u: (lambda routed, update=u: self.seen.append(update)) for u in range(1, 2 * STEPS + 1)}

        def state_dict(self):
            return {"seen": self.seen}

        def load_state_dict(self, state):
            self.seen = list(state["seen"])

    def take_up(extra):
        gathered = Gathered()
        given = {"visits": gathered.visits() | extra, "beside": {"seen": gathered}}
        return training.train(chosen, data, checkpoints=checkpoints(tmp_path / "c", "3 steps"), **given), gathered.seen

    for update in (2, 5, 8):
        with pytest.raises(Interrupted):
            take_up({update: stop})
    result, seen = take_up({})
    assert seen == list(range(1, 2 * STEPS + 1))
    assert list(result.diagnostics) == [0, 2, 4, 6, 8]
    assert_equal(training.train(chosen, data), result)


def test_fields_seen_on_the_way_are_those_of_an_uninterrupted_run(data, tmp_path):
    network = {"width": 4, "kernel": 3, "depth": 1, "hidden": 8, "bottleneck": 4}
    fields = {"layers": ["retina.conv2"], "at": [0.5, 1, 1.75]}
    chosen = asked(network=network, fields=fields, train={"epochs": 2, "average": 0.9})
    whole = Seen(chosen, data, "cpu")
    result = training.train(chosen, data, visits=whole.visits())

    def take_up(extra):
        seen = Seen(chosen, data, "cpu")
        visits = seen.visits()
        given = {"visits": visits | extra, "checkpoints": checkpoints(tmp_path / "c"), "beside": {"fields": seen}}
        return training.train(chosen, data, **given), seen

    with pytest.raises(Interrupted):
        take_up({5: stop})  # when two of the three have been seen
    found, seen = take_up({})
    assert_equal(result, found)
    assert seen.measured(found).identical(whole.measured(result))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures")
    for part, count in {"train": 14, "val": 3}.items():
        for name in ("ant", "bee"):
            (folder / part / name).mkdir(parents=True)
            for i in range(count):
                image = smooth(1000 * len(part) + 100 * ord(name[0]) + i, 20 + i, 35 - i)
                (folder / part / name / f"{i}.png").write_bytes(encoded(image, "PNG"))
    return folder


@pytest.mark.parametrize("crop", ["centre", "random_resized"])
def test_a_streamed_folder_goes_on_with_the_same_parts_of_the_same_images(crop, pictures, tmp_path):
    options = {"colour": True, "size": 16, "memory": "stream", "decoder": "pillow", "train_crop": crop}
    data = datasets.load("image_folder", folder=pictures, validation=0.2, **options)
    chosen = asked(train={"epochs": 2, "batch": 4, "augment": {"flip": True, "crop": 1}, "average": 0.5})
    whole = training.train(chosen, data)
    steps = -(-len(data.train) // 4)
    assert_equal(whole, cut(chosen, data, tmp_path / "c", [2, steps - 1, 2 * steps]))


def test_batches_that_are_left_out_are_not_decoded(pictures, monkeypatch):
    options = {"colour": True, "size": 16, "memory": "stream", "decoder": "pillow", "train_crop": "random_resized"}
    split = datasets.load("image_folder", folder=pictures, validation=0, **options).train
    read = []
    own = type(split.view).random_part
    monkeypatch.setattr(type(split.view), "random_part", lambda *given: read.append(given[1]) or own(*given))
    settings = {"mean": 0.5, "std": 0.2, "augmentation": datasets.Augmentation(flip=True, crop=2, cutout=3)}
    generator = torch.Generator().manual_seed(5)
    whole = list(datasets.batches(split, 6, generator=generator, **settings))
    for skip in range(len(whole) + 1):
        stepped = torch.Generator().manual_seed(5)
        begin = stepped.get_state()
        list(itertools.islice(datasets.batches(split, 6, generator=stepped, **settings), skip))
        after, taken = stepped.get_state(), torch.Generator()
        taken.set_state(begin)
        read.clear()
        left = list(datasets.batches(split, 6, generator=taken, skip=skip, after=after if skip else None, **settings))
        assert len(left) == len(whole) - skip and len(read) == len(split) - 6 * skip if skip < len(whole) else not left
        for (x, y), (u, v) in zip(left, whole[skip:], strict=True):
            assert torch.equal(x, u) and torch.equal(y, v)
        assert torch.equal(taken.get_state(), generator.get_state())


@pytest.mark.parametrize("skip", [-1, 6])
def test_more_batches_than_there_are_cannot_be_left_out(skip, data):
    split = data.train[:10]
    with pytest.raises(InputError, match=f"skip={skip} was"):
        datasets.batches(split, 2, mean=0.0, std=1.0, skip=skip)


TOGETHER = """
import sys
import torch.distributed as dist
sys.path[:0] = sys.argv[4:]
from interrupting import Interrupted, assert_equal, checkpoints, stop
from test_resuming import STEPS, TWO, asked
from rfmodel import datasets, loop, training
which, store, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=which, world_size=2)
loop.LOOK = 2
now = iter(range(10**6))
clock = (lambda: 100.0 * next(now)) if which == 0 else (lambda: 0.0)  # the first alone finds that time has passed
data = datasets.load("natural_patches", size=8, train_per_class=6, test_per_class=3, validation=0.1)
chosen = asked(**TWO)
whole = training.train(chosen, data)


def until(update, path, every="1 step"):
    try:
        training.train(chosen, data, visits={update: stop}, checkpoints=checkpoints(path, every, clock=clock))
    except Interrupted:
        return
    raise AssertionError(f"update {update} was never done")


for every, update in (("3 steps", STEPS + 3), ("1s", 3)):
    until(update, folder + every, every)
    found = training.train(chosen, data, checkpoints=checkpoints(folder + every, every, clock=clock))
    assert_equal(whole, found)
    assert found.resumed > 0
until(STEPS + 3, folder + "left")
dist.barrier()
dist.destroy_process_group()  # gloo's threads must end before the interpreter does
"""
TWO = {"network": NETWORKS["small_conv"], "rules": {"*": {"name": "ldfa", "rank": 2}}, "train": {"epochs": 2}}


@pytest.mark.skipif(not (dist.is_available() and dist.is_gloo_available()), reason="this build of torch has no gloo")
def test_two_processes_go_on_each_with_its_own_draws_and_one_goes_on_without_the_other(data, tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    here = Path(__file__).parent
    given = [str(tmp_path / "store"), f"{tmp_path}/", str(here), str(here / "datasets")]
    running = [
        subprocess.Popen([sys.executable, "-c", TOGETHER, str(which), *given], env=environment) for which in range(2)
    ]
    try:
        assert [process.wait(240) for process in running] == [0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    first, second = checkpoints(tmp_path / "left").latest()["random"]
    assert not torch.equal(first["cpu"], second["cpu"])
    alone = training.train(asked(**TWO), data, checkpoints=checkpoints(tmp_path / "left"))
    assert (alone.state, alone.resumed, len(alone.history["loss_test"])) == ("done", 1, 3)


def test_what_the_clock_says_is_added_up(data, tmp_path):
    chosen = asked(train={"epochs": 2})
    parts = [checkpoints(tmp_path / "c") for _ in range(2)]
    with pytest.raises(Interrupted):
        training.train(chosen, data, visits={STEPS + 2: stop}, checkpoints=parts[0])
    state = parts[0].latest()
    state["seconds"], state["cpu_seconds"], state["epoch_seconds"] = 1000.0, 2000.0, 500.0
    state["peak"]["bytes"] = 2**50
    parts[0].keep(state)
    found = training.train(chosen, data, checkpoints=parts[1])
    assert 1000 < found.seconds < 1900 and found.cpu_seconds > 2000
    assert found.history["images_per_second"][2] < len(data.train) / 500
    assert found.peak.bytes == 2**50


def test_the_best_epoch_so_far_is_told_beside(data, tmp_path):
    kept = checkpoints(tmp_path / "c", "1 epoch")
    result = training.train(asked(), data, checkpoints=kept)
    scores = result.history["accuracy_validation"]
    assert kept.latest()["best"] == [scores.index(max(scores)), max(scores)]
