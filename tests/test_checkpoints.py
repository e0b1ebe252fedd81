"""Checkpoint files are whole or refused by name; when one is kept is decided by the clock, the steps and its cost."""

from __future__ import annotations

import errno
import io
import pickle
import random
import zipfile

import numpy as np
import pytest
import torch
import xarray as xr
from interrupting import Interrupted, assert_equal, checkpoints, stop

from rfmodel import checkpoint_files, datasets, history, training
from rfmodel.averaging import Average
from rfmodel.checkpoint_files import Damaged, digest, plain
from rfmodel.checkpoints import NEVER, Checkpoints, Interval, Stateful, interval
from rfmodel.errors import InputError
from rfmodel.plain_datasets import dataset_of, plain_dataset
from rfmodel.seen import Seen
from rfmodel.settings import Settings

STATE = {"step": 3, "weights": {"a": torch.arange(12.0).reshape(3, 4), "b": torch.ones(2, dtype=torch.bfloat16)}}


class Clock:
    """Seconds that pass when told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(scope="module")
def data():
    return datasets.load("natural_patches", size=8, train_per_class=6, test_per_class=3, validation=0.1)


CHOSEN = Settings.model_validate(
    {
        "network": {"name": "mlp", "width": 8, "depth": 1, "batch_norm": True},
        "data": {"size": 8},
        "fields": {"layers": []},
        "rules": {"*": {"name": "ldfa", "rank": 3, "schedule": [[2, 2]]}},
        "train": {"epochs": 2, "batch": 16, "precision": "fp32", "average": 0.9, "diagnose_every": 2},
    }
)


@pytest.fixture(scope="module")
def interrupted(data, tmp_path_factory):
    """A run that was interrupted in its second epoch: its files' bytes, and what it becomes uninterrupted."""
    path = tmp_path_factory.mktemp("run") / "run.checkpoint"
    with pytest.raises(Interrupted):
        training.train(CHOSEN, data, visits={7: stop}, checkpoints=checkpoints(path))
    return path.read_bytes(), path.with_name("run.checkpoint.previous").read_bytes(), training.train(CHOSEN, data)


# The file


def test_what_is_kept_comes_back_as_it_was(tmp_path):
    kept = checkpoints(tmp_path / "c")
    state = {
        "numbers": [0, -1, 2**70, 0.1, float("inf"), True, None, "word \u2713"],
        "strided": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "view": torch.arange(10)[::2],
        "broadcast": torch.zeros(1).expand(5),
        "scalar": torch.tensor(3.0),
        "empty": torch.zeros(0, 4),
        "by number": {0: 1.0, 7: -0.0},
    }
    kept.keep(state)
    found = kept.latest()
    assert found["numbers"] == state["numbers"] and found["by number"] == {0: 1.0, 7: -0.0}
    for name in ("strided", "view", "broadcast", "scalar", "empty"):
        assert torch.equal(found[name], state[name]) and found[name].dtype == state[name].dtype
    assert found["strided"].stride() == state["strided"].stride()
    content = torch.load(tmp_path / "c", weights_only=True)
    assert tuple(content) == checkpoint_files.KEYS
    assert (content["format"], content["identity"], content["fingerprint"]) == ("rfmodel checkpoint", "run", "data")
    assert content["versions"]["torch"] == torch.__version__


def test_a_view_is_kept_without_what_lies_behind_it(tmp_path):
    kept = checkpoints(tmp_path / "c")
    kept.keep({"rows": torch.zeros(10**6)[:10]})
    assert (tmp_path / "c").stat().st_size < 10_000


@pytest.mark.parametrize(
    "changed",
    [
        {"a": 1.0},
        {"b": 1},
        {"a": True},
        {"a": "1"},
        {"a": None},
        {"a": [1]},
        {"a": torch.ones(1)},
        {"a": torch.ones((), dtype=torch.float64)},
        {"a": -0.0},
        {"a": 0.0},
    ],
)
def test_the_checksum_tells_types_names_and_bits_apart(changed):
    assert digest(changed) != digest({"a": 1})
    assert digest({"a": -0.0}) != digest({"a": 0.0})


def test_the_checksum_tells_shapes_dtypes_and_layouts_apart():
    x = torch.arange(16.0).reshape(1, 2, 4, 2)
    alike = [x, x.flatten(), x.double(), x.to(memory_format=torch.channels_last), x.view(torch.int32), -x]
    assert len({digest(tensor) for tensor in alike}) == len(alike)
    assert digest(x) == digest(x.clone())


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ({"a": {1}}, "state.a, which is set; tensors, numbers"),
        ({"a": [b"x"]}, r"state.a\[0\], which is bytes"),
        ({(1, 2): 1}, "state, which is dict"),
        ({"a": torch.eye(2).to_sparse()}, "state.a, a tensor of torch.sparse_coo"),
        ({"a": object()}, "state.a, which is object.*--checkpoint never"),
    ],
)
def test_what_is_not_plain_is_not_kept(value, told, tmp_path):
    with pytest.raises(InputError, match=told):
        checkpoints(tmp_path / "c").keep(value)
    assert list(tmp_path.iterdir()) == []


def test_nothing_kept_is_nothing_to_go_on_from(tmp_path):
    kept = checkpoints(tmp_path / "c")
    assert kept.latest() is None
    kept.keep(STATE)
    kept.keep(STATE)
    kept.forget()
    kept.forget()
    assert kept.latest() is None and list(tmp_path.iterdir()) == []


def lengths(size, count):
    """Lengths of prefixes: the ends, and evenly between them."""
    return sorted({0, 1, size - 1, *(round(i * (size - 1) / (count - 1)) for i in range(count))})


def test_every_prefix_is_refused_by_name_or_gives_way_to_the_one_before(interrupted, data, tmp_path):
    newest, previous, whole = interrupted
    path = tmp_path / "run.checkpoint"
    for length in lengths(len(newest), 200):
        path.write_bytes(newest[:length])
        with pytest.raises(InputError, match=rf"checkpoint '{path}' cannot be read \(.*\); delete it, and with"):
            checkpoints(path).latest()
    path.with_name("run.checkpoint.previous").write_bytes(previous)
    expected, told = digest(checkpoint_files.content("", "", _state(previous, tmp_path))["state"]), []
    for length in lengths(len(newest), 40):
        path.write_bytes(newest[:length])
        found = checkpoints(path, told=told.append).latest()
        assert digest(plain(found)) == expected
        assert told.pop().endswith(f"the run goes on from '{path}.previous'") and not told
    assert_equal(whole, training.train(CHOSEN, data, checkpoints=checkpoints(path, told=told.append)))


def _state(content, tmp_path):
    (tmp_path / "other").write_bytes(content)
    return checkpoint_files.read(tmp_path / "other")["state"]


def test_flipped_bytes_are_refused_or_change_nothing(interrupted, tmp_path):
    newest = interrupted[0]
    path, draw = tmp_path / "run.checkpoint", random.Random(0)
    expected, refused = digest(plain(_state(newest, tmp_path))), 0
    places = [*draw.sample(range(len(newest)), 150), *range(0, 400, 8), *range(len(newest) - 400, len(newest), 8)]
    for place in places:
        path.write_bytes(newest[:place] + bytes([newest[place] ^ (1 << draw.randrange(8))]) + newest[place + 1 :])
        try:
            found = checkpoints(path).latest()
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refused += 1
        else:  # between the records, where the archive is padded
            assert digest(plain(found)) == expected
    assert refused > len(places) / 3


def test_both_files_damaged_are_both_named(tmp_path):
    kept = checkpoints(tmp_path / "c")
    for name in ("c", "c.previous"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(InputError, match=r"'.*/c' and '.*/c\.previous' cannot be read"):
        kept.latest()


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path):
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match=r"/c' cannot be read \(Is a directory\)"):
        checkpoints(tmp_path / "c").latest()


class Executes:
    """What a pickle of executes when it is opened."""

    def __reduce__(self):
        return (print, ("executed",))


def _saved(value):
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def _packed():
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(_saved({"a": torch.zeros(10**5)}))) as plain,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    return buffer.getvalue()


def _bomb():
    value = [torch.zeros(1000)]
    for _ in range(60):
        value = [value, value]
    return value


def _circle():
    value = []
    value.append(value)
    return value


def _whole(state, **other):
    made = checkpoint_files.content("run", "data", {}) | {"state": state} | other
    try:
        return made | {"sha256": digest({key: made[key] for key in checkpoint_files.KEYS[:-1]}, 10**6)}
    except (Damaged, RecursionError):
        return made


HOSTILE = {
    "empty": b"",
    "text": b"PK\x03\x04 not an archive",
    "pickle": pickle.dumps({"format": "rfmodel checkpoint"}),
    "executes": _saved(Executes()),
    "packed": _packed(),
    "a list": _saved([1]),
    "no keys": _saved({}),
    "other format": _saved(_whole({}, format="other")),
    "a tensor for a state": _saved(_whole(torch.ones(2))),
    "a word for a schema": _saved(_whole({}, schema="1")),
    "no checksum": _saved(_whole({"a": 1}) | {"sha256": "0"}),
    "a number for a checksum": _saved(_whole({"a": 1}) | {"sha256": 5}),
    "doubling": _saved(_whole({"a": _bomb()})),
    "circle": _saved(_whole({"a": _circle()})),
    "deep": _saved(_whole({"a": 1}) | {"identity": {"a": {"a": {1: ()}}}}),
    "sparse": _saved(_whole({"a": 1}) | {"state": {"a": torch.eye(2).to_sparse()}}),
    "meta": _saved(_whole({"a": 1}) | {"state": {"a": torch.zeros(2**50, device="meta")}}),
    "stretched": _saved(_whole({"a": 1}) | {"state": {"a": torch.zeros(1).expand(2**50)}}),
    "a parameter": _saved(_whole({"a": 1}) | {"state": {"a": torch.nn.Parameter(torch.zeros(1))}}),
    "complex word": _saved(_whole({"a": 1}) | {"state": {"a": 1j}}),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_file_is_refused_by_name_and_executes_nothing(kind, tmp_path, capsys):
    path = tmp_path / "run.checkpoint"
    path.write_bytes(HOSTILE[kind])
    with pytest.raises(InputError, match=rf"checkpoint '{path}' cannot be read") as refused:
        checkpoints(path).latest()
    assert "\n" not in str(refused.value) and capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"identity": "another"}, "is of run 'another', and this is run 'run'; delete it"),
        ({"identity": 7}, "is of run 7, and this is run 'run'"),
        ({"fingerprint": "ff"}, "was made with data 'ff', and these are data 'data'; delete it .* the run starts anew"),
        ({"schema": 99}, "has schema 99, and this version reads 1"),
        ({"versions": {"torch": "1.9.0"}}, "was made with torch '1.9.0', and this is torch 2"),
        ({"versions": []}, "was made with torch None, and"),
    ],
)
def test_a_checkpoint_of_something_else_is_refused_by_what_was_asked_and_found(other, told, tmp_path):
    path = tmp_path / "run.checkpoint"
    path.write_bytes(_saved(_whole({"a": 1}, **other)))
    with pytest.raises(InputError, match=rf"checkpoint '{path}' {told}"):
        checkpoints(path).latest()


def test_another_runs_checkpoint_does_not_give_way_to_the_one_before(tmp_path):
    Checkpoints(tmp_path / "c", "run", "data").keep(STATE)
    Checkpoints(tmp_path / "c", "another", "data").keep(STATE)
    with pytest.raises(InputError, match="is of run 'another'"):
        Checkpoints(tmp_path / "c", "run", "data").latest()


# A whole file that says what cannot be


def _set(*path_and_value):
    *path, last, value = path_and_value

    def change(state):
        for key in path:
            state = state[key]
        state[last] = value(state[last]) if callable(value) else value

    return change


CHANGED = {
    "no epoch": lambda state: state.pop("epoch"),
    "epoch": _set("epoch", 99),
    "epoch of another type": _set("epoch", float("nan")),
    "step": _set("step", -1),
    "step beyond": _set("step", 4),
    "a true step": _set("step", True),
    "parameters": _set("parameters", 7),
    "device": _set("device", "cuda"),
    "precision": _set("precision", "bf16"),
    "result": _set("result", "won"),
    "no weights": _set("routed", None),
    "other weights": _set("routed", lambda weights: dict(list(weights.items())[1:])),
    "weights of another shape": _set("routed", "network.layer1.weight", torch.zeros(3)),
    "weights of another type": _set("routed", "network.layer1.weight", 3.0),
    "weights of another dtype": _set("routed", "network.layer1.weight", lambda t: t.double()),
    "steps of rules": _set("routed", "_extra_state", torch.tensor(10**6)),
    "negative steps of rules": _set("routed", "_extra_state", torch.tensor(-5)),
    "no moments": _set("optimisers", None),
    "one optimiser": _set("optimisers", lambda own: own[:1]),
    "moments by name": _set("optimisers", 0, {"a": {}}),
    "moments beyond": _set("optimisers", 0, lambda own: own | {99: own[0]}),
    "another moment": _set("optimisers", 0, 0, {"step": torch.zeros(())}),
    "moments of another shape": _set("optimisers", 0, 0, "square_avg", torch.zeros(1)),
    "average": _set("average", None),
    "average of others": _set("average", "values", lambda values: values[1:]),
    "average over a word": _set("average", "steps", "x"),
    "no generator": _set("generator", None),
    "a short generator": _set("generator", "now", torch.zeros(3, dtype=torch.uint8)),
    "a blank generator": _set("generator", "begin", torch.zeros_like),
    "no random states": _set("random", None),
    "a blank random state": _set("random", 0, "cpu", torch.zeros_like),
    "a random state of another type": _set("random", 0, "cpu", 5),
    "sums": _set("sums", 0, torch.zeros(4)),
    "no sums": _set("sums", []),
    "sums of another type": _set("sums", torch.zeros(3)),
    "seconds": _set("seconds", float("nan")),
    "processor seconds": _set("cpu_seconds", -1.0),
    "seconds of the epoch": _set("epoch_seconds", float("inf")),
    "history": _set("history", {}),
    "a history that is short": _set("history", "loss_train", [1.0]),
    "a history of words": _set("history", "loss_train", ["a", "b"]),
    "a history of lists": _set("history", "angle", [1.0, 2.0]),
    "a history of other edges": _set("history", "angle", [{"x": 1.0}, {"x": 1.0}]),
    "diagnostics": _set("diagnostics", []),
    "diagnostics to come": _set("diagnostics", lambda samples: samples | {1000: samples[0]}),
    "odd diagnostics": _set("diagnostics", 0, {}),
    "diagnostics of other edges": _set("diagnostics", 0, "map_norm", {"x": 1.0}),
    "resumed": _set("resumed", -1),
    "peak": _set("peak", 5),
    "a peak of a word": _set("peak", "bytes", "x"),
    "beside": _set("beside", None),
    "something beside": _set("beside", {"fields": {}}),
}


@pytest.mark.parametrize("kind", CHANGED)
def test_a_whole_file_of_what_cannot_be_is_refused_by_name_before_a_step(kind, interrupted, data, tmp_path):
    path = tmp_path / "run.checkpoint"
    state = _state(interrupted[0], tmp_path)
    CHANGED[kind](state)
    checkpoints(path).keep(state)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    with pytest.raises(InputError, match=rf"checkpoint '{path}' holds .*; delete it .* the run starts anew") as refused:
        training.train(CHOSEN, data, progress=lambda *_: pytest.fail("it was trained"), checkpoints=checkpoints(path))
    assert "\n" not in str(refused.value)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_rank_that_is_not_the_epochs_is_refused(interrupted, data, tmp_path):
    path, state = tmp_path / "run.checkpoint", _state(interrupted[0], tmp_path)
    for name in state["routed"]:
        if name.endswith("rank_in_force"):
            state["routed"][name] = torch.tensor(-7)
    checkpoints(path).keep(state)
    with pytest.raises(InputError, match=r"holds maps of ranks \[-7\], and they are \[2\] in this epoch"):
        training.train(CHOSEN, data, checkpoints=checkpoints(path))


def test_a_checkpoint_of_a_wider_network_is_refused_by_its_size(interrupted, data, tmp_path):
    path = tmp_path / "run.checkpoint"
    path.write_bytes(interrupted[0])
    wider = CHOSEN.model_copy(update={"network": CHOSEN.network.model_copy(update={"width": 9})})
    with pytest.raises(InputError, match=rf"'{path}' holds a network of \d+ parameters, and this one has \d+; delete"):
        training.train(wider, data, checkpoints=checkpoints(path))


# Fields beside


@pytest.mark.parametrize(
    "change",
    [
        _set("stages", None),
        _set("stages", 0, "label", "epoch 7"),
        _set("stages", 0, "epoch", 0.25),
        _set("stages", 0, "fields", {}),
        _set("stages", 0, "fields", "variables", {}),
        _set("stages", 0, "fields", "variables", "rf", "dims", ["unit", "y"]),
        _set("stages", 0, "fields", "variables", "rf", "values", {"dtype": "<f4", "tensor": torch.zeros(2)}),
        _set("stages", 0, "fields", "variables", "rf", "values", "dtype", "O"),
        _set("stages", 0, "fields", "variables", "status", "values", "dtype", "<U999999999"),
        _set("stages", 0, "fields", "variables", "status", "values", "shape", [10**9]),
        _set("stages", lambda stages: stages * 2),
    ],
)
def test_fields_that_were_not_asked_for_are_refused(change, data):
    chosen = CHOSEN.model_copy(
        update={"fields": CHOSEN.fields.model_copy(update={"layers": ("layer1",), "at": (1.0,)}), "rules": {}}
    )
    seen, other = Seen(chosen, data, "cpu"), Seen(chosen, data, "cpu")
    seen.visits()[4](training.build(chosen, data.image_shape, len(data.classes)))
    state = plain(seen.state_dict())
    other.load_state_dict(state)
    assert other.stages[1].fields.identical(seen.stages[1].fields)
    assert {n: v.dtype for n, v in other.stages[1].fields.variables.items()} == {
        n: v.dtype for n, v in seen.stages[1].fields.variables.items()
    }
    change(state)
    with pytest.raises(Exception) as refused:  # whatever it is, the training makes one line of it
        other.load_state_dict(state)
    assert not isinstance(refused.value, MemoryError)
    assert len(other.stages) == 2


def test_a_stage_that_the_settings_do_not_ask_for_is_refused_by_its_name(data):
    fields = CHOSEN.fields.model_copy(update={"layers": ("layer1",), "at": (1.0,)})
    seen = Seen(CHOSEN.model_copy(update={"fields": fields, "rules": {}}), data, "cpu")
    stage = {"label": "epoch 7", "epoch": 7.0, "fields": plain_dataset(seen.stages[0].fields)}
    with pytest.raises(
        InputError, match=r"fields of \[\('epoch 7', 7.0\)\] were seen, and fields.at asks for \[\('epo"
    ):
        seen.load_state_dict({"stages": [stage]})


def test_a_labelled_dataset_is_the_same_after_the_round_trip():
    dataset = xr.Dataset(
        {
            "rf": (
                ("unit", "y"),
                np.arange(6, dtype=np.float32).reshape(2, 3),
                {"units": "1", "scale": np.float64(0.5)},
            ),
            "status": ("unit", ["ok", "dead"]),
            "mixed": ("unit", np.array(["a", "bcd"], object)),
            "is": ("unit", [True, False]),
            "count": ((), np.int16(3)),
        },
        {"unit": ["a/0", "a/1"], "y": [3, 1, 2], "cy": ("unit", [np.nan, 1.0], {"edges": np.array([1, 2])})},
        {"method": "gradient", "blank": 0.5, "n": 3, "none": None, "yes": True, "pair": (1, ["a"])},
    )
    found = dataset_of(plain(plain_dataset(dataset)))
    assert found.identical(dataset)
    assert {n: v.dtype for n, v in found.variables.items()} == {n: v.dtype for n, v in dataset.variables.items()}
    assert type(found.attrs["pair"]) is tuple and type(found["rf"].attrs["scale"]) is np.float64


@pytest.mark.parametrize(
    ("dataset", "told"),
    [
        (
            xr.Dataset({"a": ("x", np.array(["2020-01-01"], "datetime64[ns]"))}),
            r"an array of datetime64\[ns\]; numbers",
        ),
        (xr.Dataset({"a": ("x", np.array([object()]))}), "an array of object; numbers or words would do"),
        (xr.Dataset(attrs={"a": {1}}), "an attribute of set; numbers or words would do"),
    ],
)
def test_what_a_dataset_has_neither_of_numbers_nor_of_words_is_not_kept(dataset, told):
    with pytest.raises(InputError, match=told):
        plain_dataset(dataset)


def test_an_average_of_another_network_is_refused():
    average, other = Average(torch.nn.Linear(2, 3), 0.5), Average(torch.nn.Linear(3, 3), 0.5)
    with pytest.raises(InputError, match="a moving average over 0 steps of 2 tensors is not one of this network, of 2"):
        average.load_state_dict(other.state_dict())


def test_what_is_seen_is_something_that_can_be_kept_beside():
    assert issubclass(Seen, Stateful)


# When


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5m", Interval()),
        ("300s", Interval(300.0)),
        (" 1 H ", Interval(3600.0)),
        ("0.5s", Interval(0.5)),
        ("2 epochs", Interval(2.0, "epochs")),
        ("1epoch", Interval(1.0, "epochs")),
        ("500 steps", Interval(500.0, "steps")),
        ("never", NEVER),
    ],
)
def test_an_interval_is_what_its_text_says(text, expected):
    assert interval(text) == expected
    assert interval(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "5", "m", "-5m", "0s", "0 steps", "1.5 epochs", "5 days", "nan", "inf s", "1e3s", "\u0663s", "9" * 400 + "s"],
)
def test_a_text_that_says_no_interval_is_refused(text):
    with pytest.raises(InputError, match=r"--checkpoint '.*' is no interval; use a time as 5m or 300s, '2 epochs'"):
        interval(text)


def asked(every, questions):
    return [every.due(*question) for question in questions]


def test_an_interval_of_steps_is_exact(tmp_path):
    kept = checkpoints(tmp_path / "c", "3 steps")
    assert kept.by_steps
    assert asked(kept, [(step, False) for step in range(1, 10)]) == [step % 3 == 0 for step in range(1, 10)]
    assert asked(kept, [(9, True), (10, True)]) == [True, False]
    assert kept.due_at_end()


def test_an_interval_of_epochs_counts_their_ends(tmp_path):
    kept, due = checkpoints(tmp_path / "c", "2 epochs"), []
    for epoch in range(1, 6):
        assert not kept.due(4 * epoch - 2, False)
        due.append(kept.due(4 * epoch, True))
        if due[-1]:
            kept.keep(STATE)
    assert due == [False, True, False, True, False]
    assert kept.due_at_end() and not kept.by_steps


def test_never_is_never(tmp_path, clock):
    kept = Checkpoints(tmp_path / "c", "run", "data", NEVER, clock=clock)
    clock.now = 1e9
    assert not any(asked(kept, [(20, False), (40, True)])) and not kept.due_at_end()


def test_an_interval_of_time_begins_anew_with_each_checkpoint_and_with_the_training(tmp_path, clock):
    kept = Checkpoints(tmp_path / "c", "run", "data", clock=clock)
    clock.now = 250.0
    kept.latest()
    for now, due in ((549.0, False), (550.0, True), (551.0, True)):
        clock.now = now
        assert kept.due(1, False) == due
    kept.keep(STATE)
    for now, due in ((850.0, False), (851.0, True)):
        clock.now = now
        assert kept.due(1, True) == due


def test_keeping_takes_no_more_than_a_hundredth_of_the_time(tmp_path, clock, monkeypatch):
    kept = Checkpoints(tmp_path / "c", "run", "data", interval("10s"), clock=clock)
    write = checkpoint_files.write

    def slowly(*given):
        clock.now += 7.0
        write(*given)

    monkeypatch.setattr(checkpoint_files, "write", slowly)
    kept.keep(STATE)
    for now, due in ((7 + 10.0, False), (7 + 699.0, False), (7 + 700.0, True)):
        clock.now = now
        assert kept.due(1, False) == due


@pytest.mark.parametrize(("every", "least"), [("5m", 60.0), ("20s", 20.0)])
def test_the_end_is_kept_where_a_minute_would_be_lost(every, least, tmp_path, clock):
    kept = Checkpoints(tmp_path / "c", "run", "data", interval(every), clock=clock)
    for now, due in ((least - 1, False), (least, True)):
        clock.now = now
        assert kept.due_at_end() == due


def test_a_short_training_keeps_nothing_by_default(data, tmp_path, clock):
    training.train(CHOSEN, data, checkpoints=Checkpoints(tmp_path / "c", "run", "data", clock=clock))
    assert list(tmp_path.iterdir()) == []


def test_in_steps_where_none_is_due_nothing_is_looked_at(data, monkeypatch, tmp_path, clock):
    questions = []
    kept = Checkpoints(tmp_path / "c", "run", "data", clock=clock)
    monkeypatch.setattr(kept, "due", lambda *given: questions.append(given))
    monkeypatch.setattr("rfmodel.resuming.Keeping._state", lambda self: pytest.fail("it was kept"))
    training.train(
        CHOSEN.model_copy(update={"train": CHOSEN.train.model_copy(update={"batch": 2})}), data, checkpoints=kept
    )
    steps = -(-len(data.train) // 2)
    ends = [(steps, True), (2 * steps, True)]
    looks = [(e * steps + s, False) for e in range(2) for s in range(20, steps, 20)]
    assert sorted(questions) == sorted(looks + ends)


# Where


def test_a_write_that_fails_leaves_what_was_kept(tmp_path, monkeypatch):
    kept = checkpoints(tmp_path / "c")
    kept.keep({"step": 1})
    kept.keep({"step": 2})
    write = checkpoint_files.write

    def half(made, path):
        write(made, path)
        path.write_bytes(path.read_bytes()[:100])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoint_files, "write", half)
    with pytest.raises(InputError, match=rf"'{tmp_path / 'c'}' cannot be written: the disk is full"):
        kept.keep({"step": 3})
    assert kept.latest() == {"step": 2}
    (tmp_path / "c").write_bytes(b"")
    assert kept.latest() == {"step": 1}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["c", "c.previous"]


def test_an_end_between_the_two_renames_leaves_the_one_before(tmp_path, monkeypatch):
    kept = checkpoints(tmp_path / "c")
    kept.keep({"step": 1})

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("rfmodel.store.writing.os.fsync", killed)
    with pytest.raises(KeyboardInterrupt):
        kept.keep({"step": 2})
    assert not (tmp_path / "c").exists()
    told = []
    assert checkpoints(tmp_path / "c", told=told.append).latest() == {"step": 1} and not told


@pytest.mark.parametrize("write", range(1, 7))
def test_a_run_whose_checkpoint_cannot_be_written_goes_on_later_from_the_one_before(write, data, tmp_path, monkeypatch):
    whole, count, path = training.train(CHOSEN, data), [], tmp_path / "run.checkpoint"
    own = checkpoint_files.write

    def fails(made, aside):
        own(made, aside)
        count.append(1)
        if len(count) == write:
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(checkpoint_files, "write", fails)
    with pytest.raises(InputError, match=rf"'{path}' cannot be written"):
        training.train(CHOSEN, data, checkpoints=checkpoints(path))
    found = training.train(CHOSEN, data, checkpoints=checkpoints(path))
    assert_equal(whole, found)
    assert found.resumed == (write > 1)


def test_the_disks_own_error_is_told(tmp_path, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")

    class Full(io.FileIO):
        def write(self, data):
            raise full

    monkeypatch.setattr("builtins.open", lambda path, mode: Full(path, "w"))
    with pytest.raises(OSError, match="No space left"):
        checkpoint_files.write({"a": torch.zeros(10)}, tmp_path / "c")


def test_a_checkpoint_that_cannot_be_deleted_is_named(tmp_path):
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match=rf"'{tmp_path / 'c'}' cannot be deleted"):
        checkpoints(tmp_path / "c").forget()


def test_the_best_epoch_is_the_first_of_the_best():
    assert history.best({"accuracy_validation": [0.1, float("nan"), 0.4, 0.4, 0.2]}) == (2, 0.4)
    assert history.best({"accuracy_validation": [float("nan")]}) is None and history.best({}) is None
