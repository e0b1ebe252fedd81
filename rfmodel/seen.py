"""What is seen of a network's fields over one training: before it, at chosen epochs of it, and after it."""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from rfmodel import building, datasets, training
from rfmodel.errors import InputError
from rfmodel.history import is_finite
from rfmodel.measuring import (
    TRAINED,
    UNTRAINED,
    Stage,
    extract_layers,
    field_images,
    measured,
    null_metrics,
    stage_label,
)
from rfmodel.plain_datasets import dataset_of, plain_dataset
from rfmodel.routing import Routed
from rfmodel.settings import Settings


class Seen:
    """The fields of the settings' layers, stage by stage.

    Parameters
    ----------
    settings : Settings
        `fields.at` says at which epochs, or parts of one.
    data : Dataset
        On `device`.
    device : torch.device

    Raises
    ------
    InputError
        If the fields' method asks for more images than there are, or for others than it is given.
    """

    def __init__(self, settings: Settings, data: datasets.Dataset, device: torch.device | str) -> None:
        self.settings, self.train, self.form = settings, data.train, (data.image_shape, len(data.classes))
        self.images = field_images(settings, data.train)
        self.steps = -(-len(data.train) // settings.train.batch)
        self.device = torch.device(device)
        first = building.build(settings, *self.form, device).network
        self.stages = [Stage(UNTRAINED, 0.0, self._fields(first, untrained=True))]
        # What cannot be measured is refused now, not after hours of training.
        between = [Stage(stage_label(epoch), epoch, self._dead()) for epoch in settings.fields.at]
        self._measured([*self.stages, *between, Stage(TRAINED, 0.0, self.stages[0].fields)])

    def _fields(self, network: torch.nn.Module, untrained: bool = False) -> xr.Dataset:
        # Noise that never rests is the same at each stage, whatever was drawn before, and costs the training no draw.
        with training.drawing_from(self.settings.seed, self.device):
            return extract_layers(network, self.settings, self.form[0], self.images, untrained)

    def visits(self) -> dict[int, training.Visit]:
        """Return who extracts the fields of the trajectory, by the update after which he does.

        Raises
        ------
        InputError
            If two of `fields.at` fall on one update.
        """
        found: dict[int, float] = {}
        for epoch in self.settings.fields.at:
            update = max(1, round(epoch * self.steps))
            if update in found:
                raise InputError(
                    f"fields.at = {found[update]:g} and {epoch:g} fall on one update, {update} of {self.steps} an "
                    "epoch: one of them would do"
                )
            found[update] = epoch
        return {update: self._visit(epoch, update) for update, epoch in found.items()}

    def _visit(self, epoch: float, update: int) -> training.Visit:
        def visit(routed: Routed) -> None:
            mode = routed.training
            with training.drawing_from(self.settings.seed, self.device):
                finite = is_finite(routed, self.train, self.settings)
            routed.train(mode)
            if finite:
                with routed.exact() as network:
                    found = self._fields(network)
            else:
                found = self._dead()
            self.stages.append(Stage(stage_label(epoch), update / self.steps, found))

        return visit

    def state_dict(self) -> dict:
        """Return what has been seen between the ends, for a checkpoint; the untrained network is seen anew."""
        return {
            "stages": [
                {"label": stage.label, "epoch": float(stage.epoch), "fields": plain_dataset(stage.fields)}
                for stage in self.stages[1:]
            ]
        }

    def load_state_dict(self, state: dict) -> None:
        """Take over what was seen before the training was interrupted.

        Raises
        ------
        InputError
            If it is not what these settings ask to be seen on the way.
        """
        taken = [Stage(one["label"], one["epoch"], dataset_of(one["fields"])) for one in state["stages"]]
        asked = [(stage_label(e), max(1, round(e * self.steps)) / self.steps) for e in self.settings.fields.at]
        found, form = [(stage.label, stage.epoch) for stage in taken], _form(self.stages[0].fields)
        if found != asked[: len(found)] or any(_form(stage.fields) != form for stage in taken):
            raise InputError(
                f"fields of {str(found)[:120]} were seen, and fields.at asks for {str(asked)[:120]}, of "
                f"{self.stages[0].fields.sizes.get('unit', 0)} units; take those of the same settings"
            )
        self.stages[1:] = taken

    def _dead(self) -> xr.Dataset:
        """Return the fields of a network whose weights or outputs are not finite."""
        before = self.stages[0].fields
        dead = before.copy(data={n: np.full_like(v.values, _nothing(v)) for n, v in before.items()})
        dead["status"] = xr.full_like(dead["status"], "dead", dtype="<U4")
        return dead

    def measured(self, result: training.Trained) -> xr.Dataset:
        """Return the fields of all stages, measured, classified and fitted; those of a run that diverged are dead."""
        if result.state == "done":
            with result.routed.exact() as network:
                last = self._fields(network, untrained=not result.epochs)
        else:  # weights that are not finite have no fields
            last = self._dead()
        return self._measured([*self.stages, Stage(TRAINED, float(result.epochs), last)])

    def _measured(self, stages: list[Stage]) -> xr.Dataset:
        with training.drawing_from(self.settings.seed, self.device):
            null = null_metrics(self.settings, *self.form, self.images)
        return measured(stages, null, self.settings.fields.fits)


def _form(fields: xr.Dataset) -> list[tuple]:
    return [(name, one.dims, one.shape, one.dtype.kind) for name, one in sorted(fields.variables.items())]


def _nothing(values: xr.DataArray) -> float | int | bool | str:
    """Return what a dead unit has of a variable of its type."""
    return {"f": np.nan, "U": "", "b": False}.get(values.dtype.kind, 0)
