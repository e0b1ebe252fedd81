"""What every network promises to the engine: shapes, one call a module, no rule, no device, no data type."""

from __future__ import annotations

import ast
import inspect
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from torch import nn

import rfmodel.models
from rfmodel.models import MLP, NETWORKS, VGG, VGG13, LeNet, MobileNet, ResNet, RetinaVVS, SmallConv, ViT


@dataclass(frozen=True)
class Maker:
    """A small network of one kind, of images no smaller than it takes."""

    build: Callable[..., nn.Module]
    least: int = 8

    def __call__(self, *, size: int, **options: int) -> nn.Module:
        return self.build(size=max(size, self.least), **options)

    def images(self, batch: int, channels: int = 3, size: int = 16, **options: bool) -> torch.Tensor:
        return torch.randn(batch, channels, *[max(size, self.least)] * 2, **options)


def retina(**variant) -> Maker:
    return Maker(
        lambda **options: RetinaVVS(2, 1, 4, 3, "lindsey2019", hidden=8, **variant, **({"channels": 3} | options))
    )


MAKERS = {
    "retina_vvs-lgn-divisive": retina(lgn=3, normalisation="divisive"),
    "retina_vvs-strided-response": retina(stride=2, normalisation="response"),
    "retina_vvs-untied-noisy": retina(untied="all", input_noise=0.1, retina_noise=0.1),
    "mlp": Maker(lambda **options: MLP((12, 11), batch_norm=True, **options)),
    "vgg": Maker(lambda **options: VGG(1 / 16, **options)),
    "small_conv": Maker(lambda **options: SmallConv(1 / 16, **options)),
    "small_conv-norm": Maker(
        lambda **options: SmallConv(1 / 16, (5, 3, 3), batch_norm=True, dropout=0.5, **options),
    ),
    "vgg13": Maker(lambda **options: VGG13(width=1 / 16, **options), least=32),
    "vgg13-imagenet": Maker(
        lambda **options: VGG13("imagenet", 1 / 16, batch_norm=False, **({"classes": 10} | options)), least=32
    ),
    "lenet": Maker(lambda **options: LeNet(1 / 4, **options), least=18),
    "resnet20": Maker(lambda **options: ResNet(20, **options)),
    "resnet20-B": Maker(lambda **options: ResNet(20, "B", **options)),
    "mobilenet": Maker(lambda **options: MobileNet(width=1 / 8, **options), least=16),
    "vit": Maker(lambda **options: ViT(16, 2, 4, **options)),
    "vit-q-k-v": Maker(lambda **options: ViT(16, 2, 4, fused_qkv=False, **options)),
}
LARGE = {
    "resnet18": Maker(lambda **options: ResNet(18, **options)),
    "resnet50": Maker(lambda **options: ResNet(50, **options)),
    "mobilenet-224": Maker(lambda **options: MobileNet("imagenet", **options)),
    "vgg13-224": Maker(lambda **options: VGG13("imagenet", **options)),
}
every = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)
# The others compile to the same graphs but for a norm.
COMPILED = {name: make for name, make in MAKERS.items() if name not in ("small_conv", "vgg13-imagenet")}
every_compiled = pytest.mark.parametrize("make", COMPILED.values(), ids=COMPILED)
every_and_large = pytest.mark.parametrize("make", (MAKERS | LARGE).values(), ids=MAKERS | LARGE)


@every
@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize(("classes", "channels", "size"), [(10, 3, 32), (7, 1, 8), (3, 2, 40)])
def test_logits_are_batch_by_classes(make, batch, classes, channels, size):
    network = make(classes=classes, channels=channels, size=size).eval()
    assert network(make.images(batch, channels, size)).shape == (batch, classes)


@every_and_large
def test_forward_and_backward_run_on_the_meta_device(make):
    with torch.device("meta"):
        network = make(classes=5, size=64)
        logits = network(torch.empty(3, 3, 64, 64))
    assert logits.shape == (3, 5) and logits.is_meta
    logits.sum().backward()
    assert all(p.grad.shape == p.shape for p in network.parameters())


@every_and_large
def test_every_module_is_called_once_on_one_tensor_and_never_in_place(make):
    with torch.device("meta"):
        network, images = make(size=64), torch.empty(2, 3, 64, 64)
    calls = Counter()

    def note(name, args, output):
        calls[name] += 1
        assert len(args) == 1 and isinstance(args[0], torch.Tensor) and isinstance(output, torch.Tensor)

    for name, module in network.named_modules():
        module.register_forward_hook(lambda _, args, output, name=name: note(name, args, output))
        assert not getattr(module, "inplace", False)
    network(images)
    assert calls == Counter(name for name, _ in network.named_modules())


@every
def test_every_parameter_gets_a_gradient_from_every_sample(make):
    torch.manual_seed(0)
    network = make(size=16).eval()  # in eval batch norm and dropout leave samples apart
    images = make.images(3, requires_grad=True)
    network(images)[1].sum().backward()
    assert images.grad[1].any() and not images.grad[0].any() and not images.grad[2].any()
    assert all(p.grad is not None for p in network.parameters())


@every
def test_seed_determines_network_and_its_dropout(make):
    def logits():
        torch.manual_seed(3)
        network = make(size=16)
        return network(make.images(4))

    assert torch.equal(logits(), logits())


@every_compiled
def test_compiles_to_one_graph_that_trains_as_eager_does(make):
    torch.manual_seed(0)
    network = make(size=16).eval()
    images = make.images(5)
    grads = []
    torch.compiler.reset()  # graphs of other tests count towards the limit of recompilations
    for run in (network, torch.compile(network, fullgraph=True, backend="aot_eager")):
        network.zero_grad()
        run(images).square().sum().backward()
        grads.append([p.grad.clone() for p in network.parameters()])
    for eager, compiled in zip(*grads, strict=True):
        torch.testing.assert_close(compiled, eager)


@every_compiled
def test_training_mode_with_its_dropouts_compiles_to_one_graph(make):
    network = make(size=16)
    torch.compiler.reset()
    torch.compile(network, fullgraph=True, backend="aot_eager")(make.images(5)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


@every
def test_bf16_autocast_gives_bf16_logits_near_those_of_float32(make):
    torch.manual_seed(0)
    network = make(size=16).eval()
    images = make.images(4)
    with torch.no_grad():
        exact = network(images)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            rough = network(images)
    assert rough.dtype == torch.bfloat16
    # bf16 rounds to 2^-9; about twenty layers in a row lose a few units of that at worst
    assert (rough - exact).norm() < 20 * 2**-9 * exact.norm()


@every
def test_state_loads_strictly_into_a_fresh_network(make):
    first, second = make(size=16).eval(), make(size=16).eval()
    second.load_state_dict(first.state_dict())
    images = make.images(2)
    assert torch.equal(first(images), second(images))


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_image_and_classes_are_keywords(network):
    parameters = inspect.signature(network).parameters
    assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in ("classes", "channels", "size"))
    assert issubclass(network, nn.Module)


def test_names_are_the_modules_in_lower_case():
    assert {name: kind.__module__.rpartition(".")[2] for name, kind in NETWORKS.items()} == {n: n for n in NETWORKS}


@pytest.mark.parametrize("path", sorted(Path(rfmodel.models.__file__).parent.glob("*.py")), ids=lambda p: p.stem)
def test_models_import_only_torch_the_errors_and_layers(path):
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module)
    mine = {name for name in found if name.split(".")[0] not in sys.stdlib_module_names | {"torch"}}
    allowed = {f"rfmodel.models.{p.stem}" for p in path.parent.glob("*.py")} if path.stem == "__init__" else set()
    allowed |= {"safetensors.torch"} if path.stem == "weights" else set()  # where it is installed
    allowed |= {f"rfmodel.models.{layer}" for layer in ("locally_connected", "noise", "normalisation")}
    assert mine <= allowed | {"rfmodel.errors"}
