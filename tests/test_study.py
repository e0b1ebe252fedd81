"""Studies: what is kept, what is run again, what a crash leaves."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from studies import TINY

from rfmodel import building, fields, measuring, protocols, store, study, training
from rfmodel.errors import InputError
from rfmodel.network_settings import RetinaVVSSettings
from rfmodel.settings import FieldSettings, Settings


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="module")
def done(tiny, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    outcomes = study.run_study(protocols.load(tiny), folder)
    return folder, outcomes


def test_every_run_is_kept_as_one_file_with_its_weights(done):
    folder, outcomes = done
    assert [o.state for o in outcomes] == ["done"] * 6
    assert len(list((folder / "runs").glob("*.nc"))) == len(list((folder / "runs").glob("*.pt"))) == 6
    assert not list(folder.rglob(".*"))  # nothing written aside is left


def test_seeds_are_outermost(done):
    assert [o.run.settings.seed for o in done[1]] == [0, 0, 0, 1, 1, 1]


def test_a_run_already_there_is_not_run_again(done, tiny, monkeypatch):
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained again"))
    again = study.run_study(protocols.load(tiny), done[0])
    assert [(o.state, o.kept) for o in again] == [("done", True)] * 6
    assert [o.accuracy for o in again] == [o.accuracy for o in done[1]]


def test_a_study_is_one_dataset(done):
    opened = store.open_study(done[0])
    assert opened.sizes["run"] == 6
    assert list(opened["condition"].values) == ["BP, wide"] * 2 + ["BP, bottleneck 2"] * 2 + ["LDFA, r = 2"] * 2
    assert list(opened["seed"].values) == [0, 1] * 3
    assert opened["rf"].dims == ("run", "stage", "unit", "y", "x")
    assert opened["accuracy_test"].sizes == {"run": 6, "epoch": 3}
    narrow = opened.isel(run=2)
    assert (narrow["status"] == "absent").sum() == 2 * 2  # two of four units, in both stages
    assert (narrow["kind"] == "absent").sum() == 2 * 2
    assert narrow["rf"].isnull().all(("stage", "y", "x")).sum() == 2
    assert opened["angle"].isel(run=0).isnull().all()
    assert opened["angle"].isel(run=4).notnull().all()
    assert list(opened["layer"].values) == ["retina.conv2"] * 4


def test_a_run_carries_what_a_reviewer_asks_for(done):
    kept = store.load(next(iter(sorted((done[0] / "runs").glob("*.nc")))))
    assert json.loads(kept.attrs["settings"])["train"]["epochs"] == 2
    assert {"python", "torch", "numpy", "rfmodel"} <= set(json.loads(kept.attrs["versions"]))
    assert {"device", "threads", "precision"} <= set(json.loads(kept.attrs["hardware"]))
    assert len(kept.attrs["data_fingerprint"]) == 16
    assert kept.attrs["commit"]
    assert "classifier_anisotropy" in kept.attrs
    assert "untrained networks" in kept.attrs["classifier_null (retina.conv2)"]


def test_kept_fields_are_the_true_gradients_of_the_kept_weights(done, tiny):
    run = protocols.load(tiny, only=["rank=2", "seed=1"]).runs[0]
    kept = store.load(store.run_path(done[0], run.name))
    routed = building.build(run.settings, (1, 8, 8), 12)
    routed.load_state_dict(torch.load(store.weights_path(done[0], run.name), weights_only=True))
    again = fields.extract(routed.network, "retina.conv2", image_shape=(1, 8, 8), normalise=(0.5, 0.5))
    np.testing.assert_allclose(again["rf"], kept["rf"].sel(stage="trained"), rtol=1e-4, atol=1e-6)


def test_fields_of_other_layers_are_extracted_from_kept_weights(done, tmp_path):
    out = study.extract_again(done[0], ["vvs.conv1", "retina.conv1"], only=["seed=0"], out=tmp_path / "f.nc")
    with xr.open_dataset(out) as found:
        assert found.sizes["run"] == 3
        assert set(found["layer"].values) == {"vvs.conv1", "retina.conv1"}


def test_extraction_without_weights_says_how_to_get_them(done, tiny, tmp_path):
    protocol = protocols.load(tiny, ["train.keep=nothing", "train.epochs=0"], ["seed=0", "rule=ldfa"])
    study.run_study(protocol, tmp_path)
    assert not list(tmp_path.rglob("*.pt"))
    with pytest.raises(InputError, match="are not there: the run was made with train.keep = 'nothing'"):
        study.extract_again(tmp_path, ["vvs.conv1"], out=tmp_path / "f.nc")
    with pytest.raises(InputError, match="--only .seed=5. fits no run: .seed. takes 0, 1"):
        study.extract_again(done[0], ["vvs.conv1"], only=["seed=5"], out=tmp_path / "f.nc")


def test_kept_features_leave_the_dense_head_out_and_serve_fields(done, tiny, tmp_path):
    protocol = protocols.load(tiny, ["train.keep=features", "train.epochs=0"], ["seed=0", "rule=ldfa"])
    study.run_study(protocol, tmp_path)
    state = torch.load(next(tmp_path.rglob("*.pt")), weights_only=True)
    assert not any("head" in name for name in state)
    assert study.extract_again(tmp_path, ["vvs.conv1"], out=tmp_path / "f.nc").is_file()


def test_a_diverged_run_is_kept_as_such_and_the_others_go_on(tiny, tmp_path):
    protocol = protocols.load(
        tiny, ["train.optimiser.name=sgd", "train.optimiser.learning_rate=1e12", "train.precision=fp32"], ["seed=0"]
    )
    outcomes = study.run_study(protocol, tmp_path)
    assert [o.state for o in outcomes] == ["diverged"] * 3
    assert set(store.open_study(tmp_path)["state"].values) == {"diverged"}


def test_an_interrupt_leaves_finished_runs_and_no_half_result(tiny, tmp_path, monkeypatch):
    train, calls = training.train, []

    def interrupted(*args, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train(*args, **options)

    monkeypatch.setattr(training, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        study.run_study(protocols.load(tiny, only=["seed=0"]), tmp_path)
    assert len(store.run_files(tmp_path)) == 1
    assert len(store.left(tmp_path, {store.load(p).attrs["name"] for p in store.run_files(tmp_path)})) == 2
    monkeypatch.setattr(training, "train", train)
    again = study.run_study(protocols.load(tiny, only=["seed=0"]), tmp_path)
    assert [o.kept for o in again] == [True, False, False]


def test_a_weight_that_is_not_finite_after_the_last_step_is_a_divergence(tiny, tmp_path):
    overrides = ["train.optimiser.learning_rate=1e30", "train.batch=100000", "train.precision=fp32", "train.epochs=1"]
    outcomes = study.run_study(protocols.load(tiny, overrides, ["seed=0"]), tmp_path)
    assert {o.state for o in outcomes} == {"diverged"}
    with pytest.raises(InputError, match="no finished run in .* has fields: 3 diverged"):
        study.extract_again(tmp_path, ["vvs.conv1"], out=tmp_path / "f.nc")


def test_weights_that_were_not_kept_are_never_measured_as_trained(tiny, tmp_path):
    protocol = protocols.load(tiny, ["train.keep=features", "train.epochs=0"], ["seed=0", "rule=ldfa"])
    study.run_study(protocol, tmp_path)
    with pytest.raises(InputError, match="layer 'head.dense' was not kept"):
        study.extract_again(tmp_path, ["head.dense"], out=tmp_path / "f.nc")


def without_checksums(folder):
    """Leave out what the run files say of their weights, as runs of the first versions did."""
    for path in store.run_files(folder):
        dataset = store.load(path)
        del dataset.attrs["weights_sha256"]
        store.save(dataset, path)


@pytest.mark.parametrize(("checked", "why"), [(True, "are not those of the run"), (False, r"cannot be read \(\w+\)")])
def test_damaged_weights_are_refused_in_one_line(done, tmp_path, checked, why):
    shutil.copytree(done[0], tmp_path / "study")
    for path in (tmp_path / "study" / "runs").glob("*.pt"):
        path.write_bytes(path.read_bytes()[:300])
    if not checked:
        without_checksums(tmp_path / "study")
    with pytest.raises(InputError, match=rf"weights '.*\.pt' {why}.*; delete the run's .nc") as caught:
        study.extract_again(tmp_path / "study", ["vvs.conv1"], out=tmp_path / "f.nc")
    assert "\n" not in str(caught.value)


def test_fields_of_the_head_are_judged_against_whole_heads(monkeypatch):
    forms = []
    monkeypatch.setattr(measuring, "_null_of", lambda form, *_: forms.append(json.loads(form)["network"]["hidden"]))
    plain = Settings(network=RetinaVVSSettings(hidden=7))
    for layer in ("retina.conv2", "head.logits"):
        measuring.null_metrics(plain.model_copy(update={"fields": FieldSettings(layers=(layer,))}), (1, 8, 8), 4)
    assert forms == [1, 7]


LAST = """
[data]
options = { classes = ["brick", "coins"], train_per_class = 10, test_per_class = 4 }
size = 8
train = 17
[network]
name = "mlp"
width = 4
depth = 1
[train]
epochs = 1
batch = 8
"""


def test_a_last_batch_of_one_image_is_refused_where_a_norm_needs_more(tmp_path):
    path = tmp_path / "last.toml"
    path.write_text(LAST)
    told = "last.toml: condition 'all': train.batch = 8 leaves a last batch of 1 of 17 training images, .*use 9"
    with pytest.raises(InputError, match=told):
        study.run_study(protocols.load(path, ["network.batch_norm=true"]), tmp_path / "normed")
    with pytest.raises(InputError, match="a last batch of 1 of 1 training images, .*use more images"):
        study.run_study(protocols.load(path, ["network.batch_norm=true", "data.train=1"]), tmp_path / "normed")
    assert [o.state for o in study.run_study(protocols.load(path), tmp_path / "plain")] == ["done"]


def test_normative_feedback_that_diverges_is_kept_as_such(tmp_path):
    path = tmp_path / "p.toml"
    path.write_text(LAST + 'optimiser.learning_rate = 1e30\n[rules."*"]\nname = "ldfa_normative"\nrank = 1\n')
    for often in ("0", "1"):
        asked = ['rules."*".init="svd"', 'rules."*".refactor_every=1', f"train.diagnose_every={often}"]
        outcomes = study.run_study(protocols.load(path, asked), tmp_path / "out")
        assert [o.state for o in outcomes] == ["diverged"]


def test_weights_that_another_version_kept_are_refused(tiny, tmp_path):
    protocol = protocols.load(tiny, ["train.epochs=0"], ["seed=0", "rule=ldfa"])
    study.run_study(protocol, tmp_path)
    (path,) = (tmp_path / "runs").glob("*.pt")
    state = torch.load(path, weights_only=True)
    torch.save({name: value for name, value in state.items() if not name.endswith(".gain")}, path)
    without_checksums(tmp_path)
    with pytest.raises(InputError, match=r"do not fit their network .*gain.*another version kept them"):
        study.extract_again(tmp_path, ["vvs.conv1"], out=tmp_path / "f.nc")


def test_files_left_by_a_crash_count_as_no_run(done, tmp_path):
    source = store.run_files(done[0])[0]
    runs = tmp_path / "runs"
    runs.mkdir()
    (runs / source.name).write_bytes(source.read_bytes())
    (runs / f".{source.name}.0123.part").write_bytes(source.read_bytes()[:100])
    (runs / f".{source.name}").write_bytes(b"half")
    assert store.open_study(tmp_path).sizes["run"] == 1


@pytest.mark.skipif(os.name != "posix", reason="file size limits are POSIX")
@pytest.mark.parametrize("limit", [8 * 1024, 40 * 1024])
def test_a_disk_that_fills_up_ends_with_one_line_and_no_half_result(tiny, tmp_path, limit):
    program = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        f"sys.argv = ['rfmodel', 'run', {str(tiny)!r}, '--out', {str(tmp_path)!r}, '--only', 'seed=0', "
        "'--set', 'train.epochs=0', '--threads', '1']; from rfmodel.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-B", "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not [p for p in (tmp_path / "runs").iterdir() if p.suffix in (".nc", ".part")]


def test_a_damaged_kept_file_is_named_before_anything_is_trained(tiny, tmp_path, monkeypatch):
    protocol = protocols.load(tiny, only=["seed=0"])
    (tmp_path / "runs").mkdir()
    store.run_path(tmp_path, protocol.runs[-1].name).write_bytes(b"not a file of ours")
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained first"))
    with pytest.raises(InputError, match="cannot be read"):
        study.run_study(protocol, tmp_path)


def test_a_damaged_plan_is_named(tmp_path):
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "plan-0.json").write_text("{")
    with pytest.raises(InputError, match="plan .*plan-0.json' is damaged"):
        store.left(tmp_path, set())


def test_errors_of_the_data_name_file_and_table(tiny, tmp_path):
    protocol = protocols.load(tiny, ["data.options.train_per_clas=3"])
    with pytest.raises(
        InputError, match="tiny.toml: condition .*data: option 'train_per_clas' .*did you mean 'train_per_class'"
    ):
        study.run_study(protocol, tmp_path / "out")


def test_conditions_keep_the_order_of_the_protocol_however_they_were_run(tiny, tmp_path):
    for label in ("LDFA, r = 2", "BP, wide"):
        study.run_study(protocols.load(tiny, ["train.epochs=0"], ["seed=0", f"condition={label}"]), tmp_path)
    study.run_study(protocols.load(tiny, ["train.epochs=0", "data.options.train_per_class=30"], ["seed=0"]), tmp_path)
    found = dict.fromkeys(store.open_study(tmp_path)["condition"].values)
    assert list(found) == ["BP, wide", "BP, bottleneck 2", "LDFA, r = 2"]


def test_points_of_an_axis_keep_their_order():
    places = {run.condition: run.position for run in protocols.load("retina_feedback").runs}
    ranks = [places[f"LDFA, r = {rank}"] for rank in (2, 4, 32)]
    assert ranks == sorted(ranks)
    assert len(set(places.values())) == len(places)
    alone = protocols.load("retina_feedback", only=["condition=LDFA, r = 32"]).runs
    assert {run.position for run in alone} == {ranks[2]}


def test_colour_fields_are_measured_by_their_leading_pattern():
    pattern, colour = np.outer(np.hanning(9), np.hanning(7)), np.array([0.6, 0.0, 0.8])
    product = colour[:, None, None] * pattern
    fields_ = np.stack([product, -product, np.full_like(product, np.nan)])
    found = measuring.separated(xr.Dataset({"rf": (("unit", "channel_in", "y", "x"), fields_)}))
    np.testing.assert_allclose(found["rf"][0], pattern, atol=1e-6)
    np.testing.assert_allclose(found["rf"][1], -pattern, atol=1e-6)
    np.testing.assert_allclose(found["rf_colour"][:2], [colour, colour], atol=1e-6)
    np.testing.assert_allclose(found["colour_separability"], [1, 1, np.nan])
    assert found["rf"][2].isnull().all()


def test_each_layer_is_classified_against_its_own_null(tiny, tmp_path):
    layers = ["fields.layers=['retina.conv1', 'retina.conv2']", "train.epochs=0"]
    study.run_study(protocols.load(tiny, layers, ["seed=0", "rule=ldfa"]), tmp_path)
    attrs = store.load(store.run_files(tmp_path)[0]).attrs
    shares = [attrs[f"classifier_null_share ({layer})"] for layer in ("retina.conv1", "retina.conv2")]
    assert shares[0] != shares[1]


def test_a_full_disk_leaves_no_half_written_result(tmp_path):
    def full(path):
        path.write_text("half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(InputError, match="cannot be written: the disk is full; nothing was left half written"):
        store.write_aside(tmp_path / "run.nc", full)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_refused_before_training(tiny, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(training, "train", lambda *a, **k: pytest.fail("trained first"))
    with pytest.raises(InputError, match="study's folder .* cannot be read .Not a directory.; give another"):
        study.run_study(protocols.load(tiny), tmp_path / "file" / "study")


@pytest.mark.parametrize("damage", ["truncated", "other", "schema"])
def test_damaged_run_files_are_named(done, tmp_path, damage):
    source = store.run_files(done[0])[0]
    path = tmp_path / "runs" / "x.nc"
    path.parent.mkdir()
    if damage == "schema":
        store.load(source).assign_attrs(schema=99).to_netcdf(path, engine="h5netcdf")
    else:
        path.write_bytes(source.read_bytes()[:500] if damage == "truncated" else b"not a file of ours")
    with pytest.raises(InputError, match=r"run file '.*x.nc' (cannot be read|has schema 99)"):
        store.open_study(tmp_path)


def test_an_empty_folder_says_what_would_fill_it(tmp_path):
    with pytest.raises(
        InputError, match="no finished run in .*looked for runs/.* there.; make some with .rfmodel run PROTOCOL --out"
    ):
        store.open_study(tmp_path)


def test_missing_data_end_a_study_before_training(tmp_path, monkeypatch):
    monkeypatch.delenv("RFMODEL_DATA", raising=False)
    with pytest.raises(InputError, match="rfmodel data download cifar10"):
        study.run_study(protocols.load("retina_feedback"), tmp_path / "out", data_folder=tmp_path)
    assert not (tmp_path / "out").exists()
