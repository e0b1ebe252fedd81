"""Training in the space of singular values: what is recorded, kept and refused, whatever the rank has come to."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch

from rfmodel import building, datasets, training
from rfmodel.errors import InputError
from rfmodel.history import BY_SITE
from rfmodel.labelling import labelled
from rfmodel.settings import Settings

FALLING = {"kind": "epochs", "every": 1, "floor": 0.5}
RULES = {
    "ssa2024": {"name": "ssa2024", "schedule": FALLING},
    "ssa2025": {"name": "ssa2025", "schedule": FALLING, "retract_every": 2},
    "svd_bp": {"name": "svd_bp", "schedule": FALLING},
}


@pytest.fixture(scope="module")
def data():
    return datasets.load("natural_patches", size=8, train_per_class=6, test_per_class=3, validation=0.1)


def asked(rule, network=None, **train) -> Settings:
    train = {"epochs": 4, "batch": 16, "precision": "fp32", "optimiser": {"name": "adam"}} | train
    network = network or {"name": "mlp", "width": 8, "depth": 2}
    return Settings.model_validate(
        {"network": network, "data": {"size": 8}, "fields": {"layers": []}, "rules": rule, "train": train}
    )


@pytest.mark.parametrize("rule", RULES)
def test_rank_drift_and_hoyer_are_recorded_by_epoch_and_layer(rule, data):
    result = training.train(asked(RULES[rule]), data)
    assert result.state == "done"
    kept = labelled(result)
    assert kept["site"].values.tolist() == ["layer1", "layer2", "logits"]
    ranks = kept["factor_rank"].sel(site="layer1").values.tolist()
    assert ranks == [8, 8, 6, 4, 4]  # r_0 (1 - k/4) with k epochs done before, no lower than half
    for name in BY_SITE:
        assert kept[name].dims == ("epoch", "site") and np.isfinite(kept[name]).all()
    rank, hoyer = kept["factor_rank"], kept["factor_hoyer"]
    assert (hoyer >= 1 - 1e-6).all() and (hoyer <= np.sqrt(rank) + 1e-6).all()
    assert (kept["factor_drift"].isel(epoch=0) < 1e-5).all() and (kept["factor_drift"] >= 0).all()


def test_an_epochs_operations_fall_with_the_rank(data):
    kept = labelled(training.train(asked(RULES["ssa2024"]), data))
    flops = kept["flops_epoch"].values[1:]
    assert flops[0] > flops[1] > flops[2] == flops[3]


@pytest.mark.parametrize("network", [None, {"name": "small_conv", "width": 0.125}])
def test_kept_weights_of_a_lower_rank_make_the_network_again(network, data):
    chosen = asked(RULES["ssa2024"], network)
    result = training.train(chosen, data)
    buffer = io.BytesIO()
    torch.save(result.routed.state_dict(), buffer)
    state = torch.load(io.BytesIO(buffer.getvalue()), weights_only=True)
    again = building.build(chosen, data.image_shape, len(data.classes)).eval()
    again.load_state_dict(state)
    images = data.test.images[:4].float() / 255
    assert torch.equal(again.network(images), result.routed.network(images))


@pytest.mark.parametrize(
    ("train", "told"),
    [
        ({"average": 0.9}, "train.average = 0.9 keeps a mean of factors"),
        ({"calibrate": 1}, "train.calibrate = 1 scales feedback maps.*coefficients.ce"),
    ],
)
def test_settings_that_do_not_go_with_factors_are_refused_before_training(train, told, data):
    with pytest.raises(InputError, match=told):
        building.check(asked(RULES["ssa2024"], **train), data.image_shape, len(data.classes))


def test_a_schedule_that_cannot_be_is_refused_before_training(data):
    with pytest.raises(InputError, match=r'rules\."\*".*energy 2'):
        building.check(asked({"name": "ssa2024", "schedule": {"energy": 2}}), data.image_shape, len(data.classes))
