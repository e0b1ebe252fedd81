"""A step whose images arrive in several passes, and a network whose images lie channels last."""

from __future__ import annotations

import pytest
import torch
from composed import CELLS, assert_same, collected, gradients, lay, named, relative
from networks import CROSS_ENTROPY
from properties import BATCH_STATISTICS
from test_autocast import U, bound, step
from test_checkpointed import REGIONS, checkpointed

REORDERED = 1e-10  # float64; sums are added up in another order
PARTS = [slice(0, 2), slice(2, 3), slice(3, 9)]
IMAGES = [(kind, case) for kind, case in CELLS if kind in ("retina", "residual", "vgg")]


@pytest.mark.parametrize(("kind", "case"), CELLS, ids=named(CELLS))
def test_parts_of_a_step_add_up_to_the_whole(kind, case):
    model, images, labels = lay(kind, case)
    model.eval()  # batch norm reads each part's own statistics in training
    whole = gradients(model, images, labels)
    model.loss_weight = 1 / len(images)
    model.zero_grad()
    for part in PARTS:
        loss = CROSS_ENTROPY(model(images[part], labels[part]), labels[part])
        (loss * len(labels[part]) / len(labels)).backward()
    found = collected(model)
    if case in BATCH_STATISTICS:  # Algorithm 2 and the released code centre and scale by the part that they see
        for gone in [name for name in whole if name.startswith("feedback.") and name.endswith("P")]:
            assert found.pop(gone).isfinite().all()
            del whole[gone]
    assert_same(found, whole, REORDERED)


@pytest.mark.parametrize(("kind", "case"), IMAGES, ids=named(IMAGES))
def test_channels_last_has_the_gradients_of_the_contiguous_layout(kind, case):
    model, images, labels = lay(kind, case)
    expected = gradients(model, images, labels)
    model.to(memory_format=torch.channels_last)
    found = gradients(model, images.to(memory_format=torch.channels_last), labels)
    assert_same(found, expected, REORDERED)


@pytest.mark.parametrize(("kind", "case"), IMAGES, ids=named(IMAGES))
def test_channels_last_in_bfloat16_is_within_rounding(kind, case):
    model, images, labels = lay(kind, case, torch.float32, n=16)
    model.eval()
    expected = step(model, images, labels, False)
    model.to(memory_format=torch.channels_last)
    found = step(model, images.to(memory_format=torch.channels_last), labels, True)
    for part in ("network.", "feedback."):
        assert relative(found, expected, part) <= bound(model, kind)


@pytest.mark.parametrize(("kind", "case"), CELLS, ids=named(CELLS))
def test_checkpoints_in_bfloat16_change_no_gradient(kind, case):
    whole, images, labels = lay(kind, case, torch.float32)
    again, _, _ = lay(kind, case, torch.float32, change=lambda network: checkpointed(network, REGIONS[kind][0]))
    assert_same(step(again, images, labels, True), step(whole, images, labels, True))


@pytest.mark.parametrize("case", ["kolen_pollack", "ldfa, eq. 15"])
def test_checkpoints_in_bfloat16_over_parts_of_a_step(case):
    model, images, labels = lay("retina", case, torch.float32)
    expected = step(model, images, labels, True)
    again, _, _ = lay(
        "retina", case, torch.float32, change=lambda network: checkpointed(network, ("retina", "vvs", "head"))
    )
    again.loss_weight = 1 / len(images)
    for part in PARTS:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            output = again(images[part], labels[part])
        (CROSS_ENTROPY(output.float(), labels[part], reduction="sum") / len(images)).backward()
    for part in ("network.", "feedback."):
        assert relative(collected(again), expected, part) <= 2 * len(PARTS) * U  # errors are rounded part by part
