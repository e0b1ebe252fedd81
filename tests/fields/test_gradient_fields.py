"""Gradient fields: closed forms, agreement with the plain loop on any network, and a network left as it was."""

import numpy as np
import pytest
import torch
from field_networks import Residual, Tokens, stack
from torch import nn
from torch.nn import functional as F

from rfmodel.fields import extract, model_hash
from rfmodel.fields.bench import bench_fields, looped_gradients
from rfmodel.fields.probe import open_probe

SMALL = (1, 16, 16)


def looped(model, layer, image, position=None):
    """Return the gradients of all units of a layer with respect to the image, one by one."""
    caught = {}
    handle = model.get_submodule(layer).register_forward_hook(lambda _m, _a, out: caught.update(out=out))
    model.eval()
    fields = []
    for unit in range(1000):
        x = image.clone().requires_grad_()
        model(x)
        out = caught["out"][0] if isinstance(caught["out"], tuple) else caught["out"]
        place = tuple(n // 2 for n in out.shape[2:]) if out.ndim == 4 else (out.shape[1] // 2,) if out.ndim == 3 else ()
        place = place if position is None else position
        if unit >= (out.shape[1] if out.ndim == 4 else out.shape[-1]):
            break
        index = (0, unit, *place) if out.ndim == 4 else (0, *place, unit)
        fields.append(torch.autograd.grad(out[index], x)[0][0])
    handle.remove()
    return torch.stack(fields).numpy()


def blank(shape=SMALL, level=0.5):
    return torch.full((1, *shape), level, dtype=torch.float64)


def test_field_of_a_linear_stack_is_the_composed_kernel():
    model = stack(linear=True)
    first, second = model.retina.conv1.weight, model.retina.conv2.weight
    # w(x) = sum_c sum_d second[u, c, d] first[c, x - d]: a full correlation of the kernels.
    composed = F.conv2d(first.transpose(0, 1), second.flip(2, 3), padding=4)[0]
    rf = extract(model, "retina.conv2", image_shape=SMALL).rf.values
    expected = np.zeros((4, 16, 16))
    expected[:, 8 - 4 : 8 + 5, 8 - 4 : 8 + 5] = composed.detach().numpy()
    np.testing.assert_allclose(rf, expected, atol=1e-7)


@pytest.mark.parametrize("layer", ["retina.conv1", "retina.conv2", "retina.relu2", "retina", "head.dense", "head"])
@pytest.mark.parametrize("channels", [1, 3])
def test_all_units_at_once_are_the_units_one_by_one(layer, channels):
    model = stack(channels=channels)
    shape = (channels, 16, 16)
    data = extract(model, layer, image_shape=shape)
    expected = looped(model, layer, blank(shape))
    dead = np.abs(expected).max((1, 2, 3)) < 1e-8
    assert (data.status == "dead").values.tolist() == dead.tolist()
    found = data.rf.values if channels > 1 else data.rf.values[:, None]
    np.testing.assert_allclose(found[~dead], expected[~dead], atol=1e-7)
    assert data.rf.dims == (("unit", "channel_in", "y", "x") if channels > 1 else ("unit", "y", "x"))


@pytest.mark.parametrize("layer", ["inward", "norm", "branch", "pool", ""])
def test_networks_that_are_no_chain_give_their_gradients(layer):
    model = Residual()
    data = extract(model, layer, image_shape=SMALL)
    np.testing.assert_allclose(data.rf.values, looped(model, layer, blank())[:, 0], atol=1e-7)


@pytest.mark.parametrize(("layer", "units"), [("attention", 8), ("dense", 5), ("patch", 8)])
def test_attention_layers_give_the_gradients_of_a_token(layer, units):
    model = Tokens()
    data = extract(model, layer, image_shape=SMALL)
    assert data.sizes["unit"] == units
    np.testing.assert_allclose(data.rf.values, looped(model, layer, blank())[:, 0], atol=1e-7)
    if layer != "patch":
        assert np.isnan(data.cy).all()
        other = extract(model, layer, image_shape=SMALL, position=3)
        np.testing.assert_allclose(other.rf.values, looped(model, layer, blank(), (3,))[:, 0], atol=1e-7)


CHAINS = {
    "strided": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 5, stride=2, padding=2), nn.BatchNorm2d(3), nn.Tanh(), nn.Conv2d(3, 4, 3, padding=1, bias=False)
    ),
    "dilated": lambda: nn.Sequential(
        nn.Conv2d(1, 3, 3, dilation=3, padding=(3, 1)), nn.GELU(), nn.Conv2d(3, 2, (5, 3))
    ),
    "deep": lambda: nn.Sequential(*(m for _ in range(4) for m in (nn.LazyConv2d(4, 7, padding=3), nn.Softplus()))),
    "in place": lambda: nn.Sequential(nn.Conv2d(1, 3, 5), nn.ELU(inplace=True), nn.Dropout(), nn.Conv2d(3, 3, 5)),
    "all padding": lambda: nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.Conv2d(3, 3, 3, padding=7)),
}


@pytest.mark.parametrize("name", CHAINS)
@pytest.mark.parametrize("place", ["centre", "corner", "edge"])
def test_cone_of_a_chain_holds_the_whole_gradient(name, place):
    torch.manual_seed(0)
    model = CHAINS[name]()
    model(torch.rand(2, 1, 14, 17))
    model = model.double().eval()
    layer = str(len(model) - 1)
    with torch.no_grad():
        height, width = model(torch.rand(1, 1, 14, 17).double()).shape[2:]
    position = {"centre": None, "corner": (0, width - 1), "edge": (height // 2, 0)}[place]
    image = blank((1, 14, 17))
    zero, one = torch.zeros(1, 1, 1).double(), torch.ones(1, 1, 1).double()
    seen = open_probe(model, layer, image, zero, one, position).cone is not None
    assert seen == ((name, place) not in {("all padding", "corner"), ("all padding", "edge")})
    data = extract(model, layer, image_shape=(1, 14, 17), position=position)
    expected = looped(model, layer, image, position)[:, 0]
    dead = np.abs(expected).max((1, 2)) < 1e-8
    assert (data.status == "dead").values.tolist() == dead.tolist()
    np.testing.assert_allclose(data.rf.values[~dead], expected[~dead], atol=1e-7)
    y, x = position or (height // 2, width // 2)
    with torch.no_grad():
        np.testing.assert_allclose(data.activation, model(image)[0, :, y, x], atol=1e-12)


class Meddling(nn.Module):
    """A chain but for a change in place between its modules."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 3, 3, padding=1)
        self.double()

    def forward(self, x):
        return self.b(self.a(x).mul_(2))


@pytest.mark.parametrize("spoil", ["meddling", "hook", "circular", "groups"])
def test_what_is_no_plain_chain_is_not_taken_for_one(spoil):
    torch.manual_seed(0)
    model, layer = Meddling(), "b"
    if spoil != "meddling":
        options = {"circular": {"padding_mode": "circular"}, "groups": {"groups": 3}}.get(spoil, {})
        model, layer = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Conv2d(3, 3, 3, padding=1, **options)).double(), "1"
    if spoil == "hook":
        model[0].register_forward_hook(lambda _m, _a, out: out**2)
    data = extract(model, layer, image_shape=SMALL)
    np.testing.assert_allclose(data.rf.values, looped(model, layer, blank())[:, 0], atol=1e-7)


class Deciding(nn.Module):
    """A network whose course depends on what it sees, so that it cannot be run without arithmetic."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.light, self.dark = (nn.Conv2d(1, 3, 3, padding=1).double() for _ in range(2))
        self.out = nn.Tanh()

    def forward(self, x):
        return self.out(self.light(x) if x.mean().item() > 0.5 else self.dark(x))


def test_networks_that_decide_by_values_take_the_course_of_the_blank():
    model = Deciding()
    light = extract(model, "out", image_shape=SMALL, blank=0.6)
    np.testing.assert_allclose(light.rf.values, looped(model, "out", blank(level=0.6))[:, 0], atol=1e-7)
    dark = extract(model, "out", image_shape=SMALL, blank=0.4)
    assert np.abs(dark.rf - light.rf).max() > 1e-3
    with pytest.raises(ValueError, match="'light' did not fire"):
        extract(model, "light", image_shape=SMALL, blank=0.4)
    # Noise around the threshold takes both courses, so that the average is that of both networks' fields.
    options = {"image_shape": (1, 6, 6), "method": "sta", "samples": 3000, "sigma": 0.02}
    both, one = (extract(model, "out", blank=b, **options).rf.values for b in (0.5, 0.4))
    assert np.linalg.norm(both - one) > 10 * np.linalg.norm(one) / np.sqrt(3000)
    probe = open_probe(model, "out", blank(), torch.zeros(1, 1, 1), torch.ones(1, 1, 1), None)
    assert probe.cone is None


def test_compiled_networks_give_the_fields_of_the_plain_one():
    model = stack()
    # What torch.compile returns: a module around the plain one, whose names differ.
    compiled = nn.Module()
    compiled._orig_mod = model
    expected = extract(model, "retina.conv2", image_shape=SMALL).rf
    np.testing.assert_array_equal(extract(compiled, "retina.conv2", image_shape=SMALL).rf, expected)


class Stubborn(torch.autograd.Function):
    """Squares its input; its backward pass looks at values, which no batched pass can."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x**2

    @staticmethod
    def backward(ctx, delta):
        (x,) = ctx.saved_tensors
        return 2 * x * delta if delta.abs().sum().item() >= 0 else delta


def test_backward_passes_that_cannot_be_batched_are_run_one_by_one():
    class Squaring(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(1, 3, 3).double()
            self.out = nn.Identity()

        def forward(self, x):
            return self.out(Stubborn.apply(self.conv(x)))

    model = Squaring()
    data = extract(model, "out", image_shape=SMALL)
    np.testing.assert_allclose(data.rf.values, looped(model, "out", blank())[:, 0], atol=1e-7)


@pytest.mark.parametrize("layer", ["retina.conv2", "head.dense"])
def test_chunks_and_choices_of_units_do_not_change_a_field(layer):
    model = stack()
    seen = []
    whole = extract(model, layer, image_shape=SMALL)
    part = extract(model, layer, [3, 1], image_shape=SMALL, chunk=1, progress=lambda done, of: seen.append((done, of)))
    np.testing.assert_allclose(part.rf, whole.rf[[3, 1]], rtol=1e-6, atol=1e-12)
    assert part.unit.values.tolist() == [f"{layer}/3", f"{layer}/1"] and part.channel.values.tolist() == [3, 1]
    assert seen == [(1, 2), (2, 2)]


def test_normalisation_maps_the_blank_and_scales_the_field():
    model = stack()
    mean, std = 0.4, 0.25
    plain = looped(model, "retina.conv2", blank(level=(0.7 - mean) / std))[:, 0] / std
    data = extract(model, "retina.conv2", image_shape=SMALL, blank=0.7, normalise=(mean, std))
    np.testing.assert_allclose(data.rf.values, plain, atol=1e-6)
    colour = stack(channels=3)
    data = extract(colour, "retina.conv2", image_shape=(3, 16, 16), normalise=([0.5, 0.5, 0.5], [1, 2, 4]))
    expected = looped(colour, "retina.conv2", blank((3, 16, 16), 0.0))
    np.testing.assert_allclose(data.rf, expected / np.array([1, 2, 4])[None, :, None, None], atol=1e-7)


def test_dead_units_are_nan_with_their_status():
    model = stack()
    with torch.no_grad():
        model.retina.conv2.bias[1] = -100
    data = extract(model, "retina.relu2", image_shape=SMALL)
    assert data.status[1] == "dead" and np.isnan(data.rf[1]).all() and data.activation[1] == 0
    assert extract(model, "retina.conv2", image_shape=SMALL).status[1] == "ok"
    assert data.attrs["n_dead"] == int((data.status == "dead").sum())


def test_black_blank_kills_glorot_networks_after_and_before_their_relu():
    # Zero biases and a zero image leave every ReLU at its corner, whose derivative is taken as zero.
    model = stack()
    for name, value in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(value)
    assert (extract(model, "retina.relu2", image_shape=SMALL, blank=0).status == "dead").all()
    assert (extract(model, "retina.conv2", image_shape=SMALL, blank=0).status == "dead").all()


def test_preset_of_lindsey_is_one_normalised_step_from_black():
    model = stack()
    gradient = looped(model, "retina.relu2", blank(level=0.0))[:, 0]
    data = extract(model, "retina.relu2", image_shape=SMALL, preset="lindsey2019")
    dead = np.abs(gradient).max((1, 2)) < 1e-8
    assert not dead.all()
    rms = np.sqrt((gradient**2).mean((1, 2), keepdims=True))
    np.testing.assert_allclose(data.rf.values[~dead], (gradient / (rms + 1e-5))[~dead], rtol=1e-5, atol=1e-7)
    assert data.attrs["blank"] == 0 and data.cy[0] == 8


def test_network_is_left_as_it_was():
    model = stack()
    model.retina.eval()
    model.retina.conv1.weight.requires_grad_(False)
    model.retina.conv2.weight.grad = torch.ones_like(model.retina.conv2.weight)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    parameters = [id(p) for p in model.parameters()]
    for layer in ("retina.conv2", "head.dense"):
        for method in ("gradient", "maximise", "sta"):
            options = {"samples": 20} if method == "sta" else {}
            extract(model, layer, [0], image_shape=SMALL, method=method, **options)
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert [id(p) for p in model.parameters()] == parameters
    assert not model.retina.conv1.weight.requires_grad and model.retina.conv2.weight.requires_grad
    assert torch.equal(model.retina.conv2.weight.grad, torch.ones_like(model.retina.conv2.weight))
    assert model.retina.conv2.bias.grad is None
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_network_is_left_as_it_was_when_extraction_fails():
    model = stack().train()
    with pytest.raises(ValueError, match="refuses images"):
        extract(model, "head.dense", image_shape=(1, 20, 20))
    assert all(m.training and not m._forward_hooks and not m._forward_pre_hooks for m in model.modules())


def test_caller_without_gradients_gets_the_same_fields():
    model = stack()
    expected = extract(model, "head.dense", image_shape=SMALL).rf
    with torch.no_grad():
        np.testing.assert_array_equal(extract(model, "head.dense", image_shape=SMALL).rf, expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(extract(model, "head.dense", image_shape=SMALL).rf, expected)


def test_network_runs_no_further_than_the_layer():
    model = stack(head=False)
    ran = []

    class Costly(nn.Module):
        def forward(self, x):
            ran.append(x.device.type)
            return x

    model.add_module("head", Costly())
    for layer in ("retina.conv2", "retina"):
        extract(model, layer, image_shape=SMALL)
    # Once for each call, without arithmetic, to see that the layer fires once.
    assert ran == ["meta", "meta"]


def test_labels_and_attributes():
    model = stack()
    data = extract(model, "retina.conv2", image_shape=SMALL)
    assert data.rf.dtype == np.float32
    assert set(data.coords) == {"unit", "layer", "channel", "cy", "cx", "status", "activation", "y", "x"}
    assert data.cy.values.tolist() == [8] * 4 and data.layer.values.tolist() == ["retina.conv2"] * 4
    assert data.attrs["method"] == "gradient" and data.attrs["units"] == "pixel"
    np.testing.assert_allclose(data.activation, model.retina[:3](blank())[0, :, 8, 8].detach(), rtol=1e-12)


def test_hash_follows_the_weights_that_the_fields_depend_on():
    model = stack()
    first = extract(model, "retina.conv2", image_shape=SMALL).attrs["model_hash"]
    with torch.no_grad():
        model.head.dense.weight += 1
    assert extract(model, "retina.conv2", image_shape=SMALL).attrs["model_hash"] == first
    whole = extract(model, "head.dense", image_shape=SMALL).attrs["model_hash"]
    assert whole == model_hash(model) != first
    with torch.no_grad():
        model.retina.conv1.bias += 1e-6
    assert extract(model, "retina.conv2", image_shape=SMALL).attrs["model_hash"] != first


def test_bench_compares_equal_fields():
    model = stack()
    found = bench_fields(model, units=4, repeats=2, image_shape=SMALL)
    assert found["difference"] < 1e-6 and len(found["ratios"]) == 2
    assert found["ratio_min"] <= found["ratio_median"]
    reference = looped_gradients(model, "retina.conv2", range(4), blank())
    assert reference.abs().max() > 0
    assert all(m.training for m in model.modules())
