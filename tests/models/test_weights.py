"""Weights are loaded whole and exactly, or refused by the first key that differs, the network left as it was."""

from __future__ import annotations

import pickle
from collections import OrderedDict

import pytest
import torch
from networks import everywhere, routed

from rfmodel.errors import InputError
from rfmodel.models import MLP, VGG, VGG13, LeNet, MobileNet, ResNet, SmallConv, ViT, load_weights

MAKERS = {
    "mlp": lambda classes=3: MLP((5, 4), batch_norm=True, size=8, classes=classes),
    "vgg": lambda classes=3: VGG(1 / 16, classes=classes),
    "small_conv": lambda classes=3: SmallConv(1 / 24, size=8, classes=classes),
    "vgg13": lambda classes=3: VGG13(width=1 / 16, classes=classes),
    "lenet": lambda classes=3: LeNet(1 / 8, classes=classes),
    "resnet": lambda classes=3: ResNet(20, "B", classes=classes),
    "mobilenet": lambda classes=3: MobileNet(width=1 / 8, size=16, classes=classes),
    "vit": lambda classes=3: ViT(8, 1, 2, size=8, classes=classes),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def drawn(make, seed, **options):
    torch.manual_seed(seed)
    network = make(**options)
    for name, buffer in network.named_buffers():  # those of batch norm start at constants
        if name.endswith(("running_mean", "running_var")):
            buffer.uniform_()
    return network


def assert_same(network, state, but=()):
    assert network.state_dict().keys() == state.keys() | set(but)
    for key, value in network.state_dict().items():
        assert key in but or torch.equal(value, state[key]), key


def kept(tmp_path, state, name="weights.pt"):
    torch.save(state, tmp_path / name)
    return tmp_path / name


@every
def test_kept_state_loads_bit_for_bit_from_file_and_from_memory(make, tmp_path):
    state = drawn(make, 0).state_dict()
    for weights in (state, kept(tmp_path, state), str(kept(tmp_path, state))):
        network = drawn(make, 1)
        assert load_weights(network, weights) is network
        assert_same(network, state)


@every
def test_fresh_head_keeps_its_own_draw_and_takes_all_else(make):
    state = drawn(make, 0, classes=7).state_dict()
    network = drawn(make, 1)
    head = [key for key in state if state[key].shape != network.state_dict()[key].shape]
    own = {key: network.state_dict()[key].clone() for key in head}
    assert len(head) == 2
    load_weights(network, state, head="fresh")
    assert_same(network, state, but=head)
    assert all(torch.equal(network.state_dict()[key], own[key]) for key in head)


@every
def test_fresh_head_needs_none_in_the_weights(make):
    network = drawn(make, 1)
    state = drawn(make, 0).state_dict()
    head = list(state)[-2:]
    load_weights(network, {key: value for key, value in state.items() if key not in head}, head="fresh")
    assert_same(network, state, but=head)


@every
def test_other_classes_are_refused_by_the_head_unless_it_may_be_fresh(make):
    network = drawn(make, 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match=r"is \(7, \d+\), the network's \(3, \d+\); .* ask for head 'fresh'"):
        load_weights(network, drawn(make, 0, classes=7).state_dict())
    assert_same(network, before)


def test_network_of_a_kept_run_is_taken_without_its_feedback_maps(tmp_path):
    network = drawn(MAKERS["lenet"], 0)
    model = routed(network, everywhere("ldfa", rank=2), torch.zeros(2, 3, 32, 32)).float()
    state = model.state_dict()
    assert any(not key.startswith("network.") for key in state)
    other = load_weights(drawn(MAKERS["lenet"], 1), kept(tmp_path, state))
    assert_same(other, network.state_dict())


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_state_beside_an_optimisers_is_taken_out(key, tmp_path):
    state = drawn(MAKERS["vit"], 0).state_dict()
    parallel = {f"module.{name}": value for name, value in state.items()}
    for inner in (state, parallel):
        network = load_weights(drawn(MAKERS["vit"], 1), kept(tmp_path, {"epoch": 3, key: inner}))
        assert_same(network, state)


def test_count_of_batches_may_be_missing_as_in_old_checkpoints():
    state = drawn(MAKERS["resnet"], 0).state_dict()
    old = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    assert_same(load_weights(drawn(MAKERS["resnet"], 1), old), state)


@pytest.mark.parametrize("bias", [True, False])
def test_queries_keys_and_values_are_parted_and_joined_exactly(bias):
    def make(fused):
        return ViT(8, 2, 2, size=8, qkv_bias=bias, fused_qkv=fused).double().eval()

    images = torch.randn(3, 3, 8, 8, dtype=torch.double)
    joint, apart, again = make(True), make(False), make(True)
    load_weights(apart, joint.state_dict())
    torch.testing.assert_close(apart(images), joint(images))
    load_weights(again, apart.state_dict())
    assert_same(again, joint.state_dict())


def test_safetensors_are_read_where_they_import(tmp_path):
    files = pytest.importorskip("safetensors.torch", reason="timm's weights are of safetensors, extra `vision`")
    state = drawn(MAKERS["vit"], 0).state_dict()
    files.save_file(state, tmp_path / "vit.safetensors")
    assert_same(load_weights(drawn(MAKERS["vit"], 1), tmp_path / "vit.safetensors"), state)


def test_safetensors_without_the_package_are_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    (tmp_path / "vit.safetensors").write_bytes(b"")
    with pytest.raises(InputError, match="vit.safetensors' need the package safetensors.*: install it, or give a file"):
        load_weights(MAKERS["vit"](), tmp_path / "vit.safetensors")


def without(state, *keys):
    return {key: value for key, value in state.items() if key not in keys}


# ResNet-20 with projections: a weight in each of 1 + 18 + 2 convolutions, two in fc, five in each of as many norms
RESNET = 1 + 18 + 2 + 2 + 5 * (1 + 18 + 2)

FOREIGN = {
    "missing": (
        "resnet",
        lambda: without(drawn(MAKERS["resnet"], 0).state_dict(), "layer1.0.bn2.bias", "layer2.0.conv1.weight"),
        rf"this ResNet \({RESNET - 2} of its {RESNET} keys do\): 'layer1.0.bn2.bias' is missing; build the network",
    ),
    "of another shape": (
        "vgg",
        lambda: VGG(1 / 8, classes=3).state_dict(),
        # eight norms count batches in a scalar each, and three classes have three biases at any width
        r"do not fit this VGG \(9 of its 60 keys do\): 'block1.conv1.weight' is \(8, 3, 3, 3\), the network's "
        r"\(4, 3, 3, 3\); build the network",
    ),
    "left over": (
        "resnet",
        lambda: drawn(MAKERS["resnet"], 0).state_dict() | {"fc.scale": torch.ones(1), "fc.more": torch.ones(1)},
        rf"\({RESNET} of its {RESNET} keys do\): 'fc.scale' is left over; build the network that they are of",
    ),
    "of another network": (
        "lenet",
        lambda: ResNet(20).state_dict(),
        r"\(0 of its 10 keys do\): 'features.conv1.weight' is missing, as is all of 'features'; build",
    ),
    "with another norm": (
        "small_conv",
        lambda: SmallConv(1 / 24, size=8, classes=3, batch_norm=True).state_dict(),
        r"\(10 of its 10 keys do\): 'features.norm1.weight' is left over",
    ),
    "of the features alone": (
        "vgg",
        lambda: {k: v for k, v in drawn(MAKERS["vgg"], 0).state_dict().items() if not k.startswith("head.")},
        "'head.dense.weight' is missing, as is all of 'head'",
    ),
    "of another image": (
        "vit",
        lambda: ViT(8, 1, 2, size=16, classes=3).state_dict(),
        r"'pos_embed' is \(1, 17, 8\), the network's \(1, 5, 8\); positions are not interpolated: build it with their "
        "size and patch",
    ),
    "with part of the queries": (
        "vit",
        lambda: without(ViT(8, 1, 2, size=8, classes=3, fused_qkv=False).state_dict(), "blocks.0.attn.k.weight"),
        "'blocks.0.attn.qkv.weight' is missing; build",
    ),
    "of an optimiser": ("vit", lambda: {"lr": 0.1}, "hold 'lr', a float: use a state dict, tensors by name"),
    "of nothing": ("vit", dict, "hold nothing: use a state dict"),
    "a list": ("vit", lambda: [torch.ones(2)], "hold a list: use a state dict, tensors by name"),
}


@pytest.mark.parametrize("case", FOREIGN)
def test_weights_of_another_network_are_refused_by_the_first_key_and_change_nothing(case, tmp_path):
    name, state, message = FOREIGN[case]
    network = drawn(MAKERS[name], 1)
    before = {key: value.clone() for key, value in network.state_dict().items()}
    with pytest.raises(InputError, match=message) as refusal:
        load_weights(network, kept(tmp_path, state()))
    assert "\n" not in str(refusal.value) and "weights.pt'" in str(refusal.value)
    assert_same(network, before)


def test_weights_given_in_memory_are_named_so():
    with pytest.raises(InputError, match="^the weights given do not fit this LeNet"):
        load_weights(LeNet(1 / 8), {"weight": torch.ones(1)})


def cut(path):
    torch.save(LeNet(1 / 8).state_dict(), path)
    path.write_bytes(path.read_bytes()[:-200])


def flip(path):
    network = LeNet(1 / 8)
    torch.save(network.state_dict(), path)
    weight = network.features.conv1.weight.detach().numpy().tobytes()
    assert path.read_bytes().count(weight) == 1
    path.write_bytes(path.read_bytes().replace(weight, weight[:-1] + bytes([weight[-1] ^ 1])))


DAMAGED = {
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("<!doctype html>\n" * 9),
    "cut": cut,
    "one bit": flip,
    "with code": lambda path: path.write_bytes(pickle.dumps(OrderedDict(a=pytest.raises))),
    "a whole network": lambda path: torch.save(LeNet(1 / 8), path),
}


@pytest.mark.parametrize("kind", DAMAGED)
@pytest.mark.parametrize("suffix", ["pt", "pth"])
def test_damaged_files_and_files_of_objects_are_refused_in_one_line(kind, suffix, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    DAMAGED[kind](path)
    with pytest.raises(
        InputError, match=r"weights\.pth?' cannot be read as tensors \(\w+\): .* state_dict\(\) alone"
    ) as r:
        load_weights(LeNet(1 / 8), path)
    assert "\n" not in str(r.value)


def test_file_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="none.pt' are not there: give a file of torch.save or of safetensors"):
        load_weights(LeNet(1 / 8), tmp_path / "none.pt")


def test_network_without_memory_is_refused():
    with torch.device("meta"):
        network = LeNet()
    with pytest.raises(InputError, match="a network on the meta device, which has no memory: build it on another"):
        load_weights(network, LeNet().state_dict())


def test_unknown_head_is_refused():
    with pytest.raises(InputError, match="head 'new' is unknown: known are fresh, refuse"):
        load_weights(LeNet(1 / 8), {}, head="new")
