"""Settings of each network: its sizes and switches, a table a network, chosen by `network.name`. Knows no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

PRESET_DEPTH = {"lindsey2019": 2, "hanut2025": 3}  # those of rfmodel.models, which needs torch
HEAD_DROPOUT = {"cifar": 0.0, "imagenet": 0.5}  # of VGG-13, likewise

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Count = Annotated[int, Field(ge=1, lt=2**31)]
Fraction = Annotated[float, Field(ge=0, lt=1)]
MOST = 1000  # layers, each of which is made even where only shapes are checked
Depth = Annotated[int, Field(le=MOST)]


class Table(BaseModel):
    """A table of settings that knows all of its keys.

    A run's identity is the hash of its settings as written down. `later` names the settings that came after runs had
    been kept: they are written down only where they differ from their default, so that those runs keep their identity.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    later: ClassVar[tuple[str, ...]] = ()

    @model_serializer(mode="wrap")
    def _without_untouched(self, write: SerializerFunctionWrapHandler) -> dict[str, Any]:
        fields = type(self).model_fields
        untouched = {
            name for name in self.later if getattr(self, name) == fields[name].get_default(call_default_factory=True)
        }
        return {name: value for name, value in write(self).items() if name not in untouched}


class Network(Table):
    """What every network's settings answer, whatever its sizes are called."""

    fields_of: ClassVar[tuple[str, ...]] = ()  # layers whose receptive fields a study extracts unless told

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of the network's class in `rfmodel.models`."""
        return {name: getattr(self, name) for name in type(self).model_fields if name != "name"}

    def place(self, axis: str) -> float:
        """Return where the network stands on an axis of sizes (bottleneck, depth, width); NaN where it has none."""
        value = getattr(self, axis, None)
        return float(value) if isinstance(value, int | float) else float("nan")


class RetinaVVSSettings(Network):
    """See `rfmodel.models.RetinaVVS`."""

    fields_of: ClassVar[tuple[str, ...]] = ("retina.conv2",)
    later: ClassVar[tuple[str, ...]] = (
        "lgn", "normalisation", "untied", "input_noise", "retina_noise", "noise", "stride",
    )  # fmt: skip
    name: Literal["retina_vvs"] = "retina_vvs"
    preset: str = "hanut2025"
    bottleneck: int = 32
    depth: Depth | None = None
    width: int = 32
    kernel: int = 9
    hidden: Count = 1024
    dropout: Fraction | None = None
    lgn: Annotated[int, Field(ge=0)] = 0  # channels; 0 is no such stage
    normalisation: Literal["none", "divisive", "response"] = "none"
    untied: Literal["none", "retina", "all"] = "none"
    input_noise: NotNegative = 0.0
    retina_noise: NotNegative = 0.0
    noise: Literal["training", "always"] = "training"
    stride: Count = 1

    @model_validator(mode="after")
    def _depth(self) -> RetinaVVSSettings:
        # Resolved here, so that a run has one identity whether its depth is spelt or the preset's.
        if self.depth is None:
            object.__setattr__(self, "depth", PRESET_DEPTH.get(self.preset, 3))
        return self


def _one(values: Any) -> Any:
    """Return equal sizes as the one that they are, so that a network has one identity."""
    return values[0] if isinstance(values, tuple) and len(set(values)) == 1 else values


class MLPSettings(Network):
    """See `rfmodel.models.MLP`."""

    name: Literal["mlp"] = "mlp"
    width: Count | Annotated[tuple[Count, ...], Field(max_length=MOST)] = 512
    depth: Annotated[int, Field(ge=0, le=MOST)] | None = None
    batch_norm: bool = False

    @model_validator(mode="after")
    def _depth(self) -> MLPSettings:
        if self.depth is None:
            object.__setattr__(self, "depth", 4 if isinstance(self.width, int) else len(self.width))
        elif not isinstance(self.width, int) and len(self.width) != self.depth:
            raise ValueError(f"depth {self.depth} needs as many widths, found {len(self.width)}; leave depth out")
        object.__setattr__(self, "width", _one(self.width))
        return self


class VGGSettings(Network):
    """See `rfmodel.models.VGG`."""

    name: Literal["vgg"] = "vgg"
    width: Positive = 1.0
    dropout: Fraction = 0.4


class SmallConvSettings(Network):
    """See `rfmodel.models.SmallConv`."""

    name: Literal["small_conv"] = "small_conv"
    width: Positive = 1.0
    kernel: Count | tuple[Count, ...] = 3
    batch_norm: bool = False
    dropout: Fraction = 0.0

    @model_validator(mode="after")
    def _kernel(self) -> SmallConvSettings:
        if isinstance(self.kernel, int) or len(self.kernel) == 3:  # of another number the network says what it needs
            object.__setattr__(self, "kernel", _one(self.kernel))
        return self


class VGG13Settings(Network):
    """See `rfmodel.models.VGG13`."""

    name: Literal["vgg13"] = "vgg13"
    head: Literal["cifar", "imagenet"] = "cifar"
    width: Positive = 1.0
    batch_norm: bool = True
    dropout: Fraction | None = None

    @model_validator(mode="after")
    def _dropout(self) -> VGG13Settings:
        if self.dropout is None:
            object.__setattr__(self, "dropout", HEAD_DROPOUT[self.head])
        return self


class LeNetSettings(Network):
    """See `rfmodel.models.LeNet`."""

    name: Literal["lenet"] = "lenet"
    width: Positive = 1.0
    initialisation: Literal["default", "glorot"] = "default"


class ResNetSettings(Network):
    """See `rfmodel.models.ResNet`."""

    name: Literal["resnet"] = "resnet"
    depth: Literal[18, 20, 32, 50, 56] = 20
    shortcut: Literal["A", "B"] | None = None
    initialisation: Literal["default", "glorot"] = "default"

    @model_validator(mode="after")
    def _shortcut(self) -> ResNetSettings:
        if self.shortcut is None:
            object.__setattr__(self, "shortcut", "B" if self.depth in (18, 50) else "A")
        return self


class MobileNetSettings(Network):
    """See `rfmodel.models.MobileNet`."""

    name: Literal["mobilenet"] = "mobilenet"
    head: Literal["cifar", "imagenet"] = "cifar"
    width: Positive = 1.0
    batch_norm: bool = True
    dropout: Fraction = 0.0


class ViTSettings(Network):
    """See `rfmodel.models.ViT`."""

    name: Literal["vit"] = "vit"
    dim: Count = 384
    depth: Annotated[int, Field(ge=1, le=MOST)] = 8
    heads: Count = 8
    mlp_ratio: Positive = 2.0
    patch: Count = 4
    qkv_bias: bool = True
    fused_qkv: bool = True
    drop: Fraction = 0.1
    pos_drop: Fraction = 0.0
    proj_drop: Fraction = 0.0
    attn_drop: Fraction = 0.1
    drop_path: Fraction = 0.1

    def place(self, axis: str) -> float:
        """Return where the network stands on an axis of sizes; its width is that of the residual stream."""
        return super().place("dim" if axis == "width" else axis)


KINDS = (
    RetinaVVSSettings,
    MLPSettings,
    VGGSettings,
    SmallConvSettings,
    VGG13Settings,
    LeNetSettings,
    ResNetSettings,
    MobileNetSettings,
    ViTSettings,
)
NAMES = tuple(kind.model_fields["name"].default for kind in KINDS)


def kind_of(tree: Mapping[str, Any]) -> type[Network]:
    """Return the settings' class of the network that a tree of settings names; the first where it names none."""
    network = tree.get("network")
    name = _named(network) if isinstance(network, dict) else None
    return KINDS[NAMES.index(name)] if name in NAMES else KINDS[0]


def _named(value: Any) -> str | None:
    if isinstance(value, dict):
        return str(value.get("name", NAMES[0]))
    return getattr(value, "name", None)


NetworkSettings = Annotated[
    Annotated[RetinaVVSSettings, Tag("retina_vvs")]
    | Annotated[MLPSettings, Tag("mlp")]
    | Annotated[VGGSettings, Tag("vgg")]
    | Annotated[SmallConvSettings, Tag("small_conv")]
    | Annotated[VGG13Settings, Tag("vgg13")]
    | Annotated[LeNetSettings, Tag("lenet")]
    | Annotated[ResNetSettings, Tag("resnet")]
    | Annotated[MobileNetSettings, Tag("mobilenet")]
    | Annotated[ViTSettings, Tag("vit")],
    Discriminator(_named),
]
