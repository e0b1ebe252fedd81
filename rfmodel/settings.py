"""Settings: every choice that a run's numbers depend on, with its default, its type and its bounds. Knows no torch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_serializer, model_validator

from rfmodel.errors import nearest
from rfmodel.network_settings import Count, Fraction, NetworkSettings, Positive, RetinaVVSSettings, Table
from rfmodel.rule_files import RuleFile, called, names_file

OPTIMISER_OPTIONS = {  # those of torch.optim that change the numbers
    "rmsprop": ("alpha", "eps", "momentum", "centered"),
    "adam": ("betas", "eps", "amsgrad"),
    "adamw": ("betas", "eps", "amsgrad"),
    "sgd": ("momentum", "nesterov", "dampening"),
}


def _share(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1


SHARE = (_share, "0 to below 1")
FLAG = (lambda value: isinstance(value, bool), "true or false")
POSSIBLE = {  # whether a value will do, and what will
    "alpha": SHARE,
    "momentum": SHARE,
    "dampening": SHARE,
    "betas": (lambda value: isinstance(value, tuple) and all(map(_share, value)), "two numbers from 0 to below 1"),
    "eps": (lambda value: isinstance(value, float) and value > 0, "a small positive number"),
    "amsgrad": FLAG,
    "centered": FLAG,
    "nesterov": FLAG,
}


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict | list | tuple):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _numbers(inner)


class DataSettings(Table):
    """Which images: see `rfmodel.datasets.load`."""

    name: str = "natural_patches"
    colour: bool = False
    size: Count | None = None
    classes: Annotated[int, Field(ge=2)] | None = None  # the first so many; all by default
    train: Count | None = None
    validation: Fraction = 0.1
    options: dict[str, int | float | str | bool | list[str]] = {}

    @model_validator(mode="after")
    def _classes(self) -> DataSettings:
        if self.classes is not None and "classes" in self.options:
            raise ValueError("classes and options.classes are both set; keep one of them")
        return self


class RuleSettings(BaseModel):
    """A learning rule for one part of the network: its name and its options; for a user's own, its file's hash.

    `code`, the file itself, is not written down: who reads settings back finds the file by its hash.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    options: dict[str, Any] = {}
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")] | None = None  # a part of a file's name
    code: RuleFile | None = None

    @model_validator(mode="before")
    @classmethod
    def _flat(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"name": value}
        if not isinstance(value, dict) or "name" not in value:
            raise ValueError('a rule is a name or a table with a name, as in {name = "ldfa", rank = 2}')
        if set(value) == {"name", "options"}:
            return value
        own = ("name", "sha256") if names_file(str(value["name"])) else ("name",)
        options = {k: v for k, v in value.items() if k not in own}
        return {k: value[k] for k in own if k in value} | {"options": options}

    @field_validator("options", mode="after")
    @classmethod
    def _finite(cls, value: dict[str, Any]) -> dict[str, Any]:
        for key, option in value.items():
            if not all(map(math.isfinite, _numbers(option))):
                raise ValueError(f"option {key} = {option} is no number; use a finite one")
        return value

    @model_serializer
    def _as_table(self) -> dict[str, Any]:
        return {"name": self.name, **self.options} | ({} if self.sha256 is None else {"sha256": self.sha256})


class OptimiserSettings(Table):
    """An optimiser and its schedule."""

    name: Literal["rmsprop", "adam", "adamw", "sgd"] = "rmsprop"
    learning_rate: Positive = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    options: dict[str, float | bool | tuple[float, float]] = {}
    schedule: Literal["constant", "exponential", "inverse_time", "step", "cosine", "linear"] = "constant"
    gamma: Annotated[float, Field(ge=0)] = 0.0
    milestones: tuple[Count, ...] = ()  # epochs after which a step schedule multiplies by gamma
    floor: Annotated[float, Field(ge=0)] = 0.0  # learning rate at which cosine and linear schedules end
    warmup: Annotated[float, Field(ge=0)] = 0.0  # epochs over which the rate rises linearly
    warmup_from: Annotated[float, Field(ge=0, le=1)] = 0.1  # share of the rate with which they begin

    @model_validator(mode="after")
    def _schedule(self) -> OptimiserSettings:
        if bool(self.milestones) != (self.schedule == "step"):
            raise ValueError("a step schedule and its milestones, epochs after which it steps, need each other")
        if list(self.milestones) != sorted(set(self.milestones)):
            raise ValueError(f"milestones {list(self.milestones)} must be rising epochs")
        if self.floor and self.schedule not in ("cosine", "linear"):
            raise ValueError(f"a {self.schedule} schedule has no floor; leave it out, or set schedule")
        if self.floor > self.learning_rate:
            raise ValueError(f"floor {self.floor} is above learning_rate {self.learning_rate}; a floor is below it")
        return self

    @model_validator(mode="after")
    def _gamma(self) -> OptimiserSettings:
        if self.schedule in ("exponential", "step") and not 0 < self.gamma <= 1:
            unit = "an epoch" if self.schedule == "exponential" else "a milestone"
            raise ValueError(f"schedule '{self.schedule}' needs gamma, the factor of {unit}, above 0 and at most 1")
        if self.schedule == "inverse_time" and not self.gamma > 0:
            raise ValueError("an inverse_time schedule needs gamma, the decay of a step, above 0")
        if self.schedule in ("constant", "cosine", "linear") and self.gamma:
            raise ValueError(f"a {self.schedule} schedule has no gamma; leave it out, or set schedule")
        return self

    @model_validator(mode="after")
    def _known_options(self) -> OptimiserSettings:
        known = OPTIMISER_OPTIONS[self.name]
        for key, value in self.options.items():
            if key not in known:
                raise ValueError(f"{self.name} has no option '{key}': it has {', '.join(known)}{nearest(key, known)}")
            will_do, what = POSSIBLE[key]
            if not will_do(value):
                raise ValueError(f"option {key} = {value} of {self.name} is impossible; use {what}")
        if self.options.get("nesterov") and (not self.options.get("momentum") or self.options.get("dampening")):
            raise ValueError("option nesterov of sgd needs a momentum above 0, and no dampening")
        return self


class AugmentationSettings(Table):
    """Random changes of each training image, drawn on the device."""

    shift: Fraction = 0.0
    flip: bool = False
    rotation: Annotated[float, Field(ge=0, le=180)] = 0.0
    crop: Annotated[int, Field(ge=0)] = 0  # pixels of padding around a random crop of the image's own size
    cutout: Annotated[int, Field(ge=0)] = 0  # side in pixels of a square that is blanked
    auto_augment: Literal["", "cifar10", "imagenet"] = ""


ByChannel = float | tuple[float, ...]


class TrainSettings(Table):
    """How the network is trained."""

    later: ClassVar[tuple[str, ...]] = ("activity_l1",)
    epochs: Annotated[int, Field(ge=0)] = 10
    batch: Count = 64
    optimiser: OptimiserSettings = OptimiserSettings()
    feedback: OptimiserSettings | None = None
    augment: AugmentationSettings = AugmentationSettings()
    mean: ByChannel = 0.5  # of grey levels from 0 to 1, one number or one a channel
    std: Positive | tuple[Positive, ...] = 0.5
    label_smoothing: Fraction = 0.0
    average: Fraction = 0.0  # decay a step of a moving average of the weights, which is then what is judged; 0 is none
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    channels_last: bool = True
    compile: bool = False  # by torch.compile
    keep: Literal["network", "features", "nothing"] = "network"
    calibrate: Annotated[int, Field(ge=0)] = 0  # batches on which each edge is brought to BP's error norm; 0 is not
    clip: Positive | None = None  # bound on each entry of the weights' gradients
    diagnose_every: Annotated[int, Field(ge=0)] = 0  # steps; 0 is never
    diagnose_images: Count = 256
    activity_l1: dict[str, Positive] = {}  # by layer, the weight in the loss of its output's mean magnitude

    @model_validator(mode="after")
    def _eager(self) -> TrainSettings:
        if self.compile and self.activity_l1:
            raise ValueError("train.compile and train.activity_l1 do not go together; leave one of them out")
        return self


class FieldSettings(Table):
    """Which receptive fields are extracted, and how: see `rfmodel.fields.extract`."""

    later: ClassVar[tuple[str, ...]] = ("at", "images", "fits")
    layers: tuple[str, ...] | None = None  # the network's own by default; () is none
    at: tuple[Annotated[float, Field(gt=0)], ...] = ()  # epochs, or parts of one, of a trajectory between the two ends
    images: Annotated[int, Field(ge=0)] = 0  # training images, of every class in turn, that the method is given
    fits: tuple[str, ...] = ()  # models of rfmodel.fits that are fitted to every field
    method: str = "gradient"
    blank: Annotated[float, Field(ge=0, le=1)] = 0.5
    preset: str | None = None
    options: dict[str, int | float | str | bool] = {}

    @field_validator("layers", "fits", mode="after")
    @classmethod
    def _once(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        return None if value is None else tuple(dict.fromkeys(value))


Analysis = Literal["linearity", "separability", "complexity", "opponency", "tuning"]


class Settings(Table):
    """Every choice of one run."""

    later: ClassVar[tuple[str, ...]] = ("analyses",)
    elsewhere: ClassVar[dict[str, str]] = {}  # axes of other models, and what would do in their place
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    data: DataSettings = DataSettings()
    network: NetworkSettings = RetinaVVSSettings()
    rules: dict[str, RuleSettings] = {}
    train: TrainSettings = TrainSettings()
    fields: FieldSettings = FieldSettings()
    analyses: tuple[Analysis, ...] = ()  # of the layers of `fields`, after training

    @field_validator("analyses", mode="after")
    @classmethod
    def _once(cls, value: tuple[Analysis, ...]) -> tuple[Analysis, ...]:
        return tuple(dict.fromkeys(value))

    @field_validator("rules", mode="before")
    @classmethod
    def _everywhere(cls, value: Any) -> Any:
        # One rule, by its name or with options, is a rule for every site.
        is_rule = isinstance(value, str) or (isinstance(value, dict) and isinstance(value.get("name"), str))
        return {"*": value} if is_rule else value

    @field_validator("rules", mode="after")
    @classmethod
    def _plain(cls, value: dict[str, RuleSettings]) -> dict[str, RuleSettings]:
        # Backpropagation everywhere has one spelling, so that it has one identity.
        return {} if value == {"*": RuleSettings(name="bp")} else value

    @model_validator(mode="after")
    def _layers(self) -> Settings:
        # Resolved here, so that a run has one identity whether its layers are spelt or the network's.
        if self.fields.layers is None:
            resolved = self.fields.model_copy(update={"layers": self.network.fields_of})
            object.__setattr__(self, "fields", resolved)
        return self

    @model_validator(mode="after")
    def _trajectory(self) -> Settings:
        # In order and once each, so that a run has one identity; the last epoch is the trained network itself.
        beyond = [epoch for epoch in self.fields.at if epoch > self.train.epochs]
        if beyond:
            raise ValueError(f"fields.at = {beyond[0]:g} lies beyond train.epochs = {self.train.epochs}; use less")
        if not self.fields.layers and (self.fields.at or self.fields.fits):
            raise ValueError("fields.at and fields.fits are of layers, and fields.layers names none; name some")
        at = tuple(sorted({epoch for epoch in self.fields.at if epoch < self.train.epochs}))
        object.__setattr__(self, "fields", self.fields.model_copy(update={"at": at}))
        return self

    @property
    def marks(self) -> tuple[str, ...]:
        """What tells the runs of one condition apart."""
        return (f"seed {self.seed}",)

    def unseeded(self) -> Settings:
        """Return what all runs of the condition share, as the settings of its seed 0."""
        return self.model_copy(update={"seed": 0})

    @property
    def coordinates(self) -> dict[str, Any]:
        """Where the run stands in a study; a size that its network or rule has not is NaN."""
        ranks = {rank for rule in self.rules.values() if isinstance(rank := rule.options.get("rank"), int | float)}
        return {
            "rule": "+".join(dict.fromkeys(called(rule.name) for rule in self.rules.values())) or "bp",
            "rank": float(next(iter(ranks))) if len(ranks) == 1 else float("nan"),
            "network": self.network.name,
            **{size: self.network.place(size) for size in ("bottleneck", "depth", "width")},
            "classes": float(self.data.classes or "nan"),
            "seed": self.seed,
        }
