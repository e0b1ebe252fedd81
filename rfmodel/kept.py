"""Kept networks: the finished runs of a study, and their networks with the weights that were kept of them."""

from __future__ import annotations

import io
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import xarray as xr
from pydantic import ValidationError

from rfmodel import building, datasets, store
from rfmodel.errors import InputError
from rfmodel.protocols import Run, select
from rfmodel.rule_files import RuleFile, attach, content_of, parted
from rfmodel.settings import RuleSettings, Settings
from rfmodel.store.wording import one_line


@dataclass(frozen=True)
class Kept:
    """A finished run: where it is kept, its settings, its Dataset, and the form of its images."""

    folder: Path
    run: Run
    dataset: xr.Dataset
    allow_code: bool

    @property
    def settings(self) -> Settings:
        """The run's settings, with the files of the user's own rules that the study keeps."""
        return attach(self.run.settings, self._file)

    @property
    def classes(self) -> int:
        """Classes of the data."""
        return int(self.dataset.attrs["classes"])

    @property
    def image_shape(self) -> tuple[int, ...]:
        """Channels, height and width; the data need not be there any more."""
        data = self.run.settings.data.model_copy(update={"classes": self.classes, "options": {}})
        return datasets.shape_of(data.model_dump())[0]

    def untrained(self, settings: Settings) -> torch.nn.Module:
        """Return the network as it was before training."""
        return building.build(settings, self.image_shape, self.classes).network

    def trained(self, settings: Settings, layers: Sequence[str]) -> torch.nn.Module:
        """Return the network with its kept weights, in eval mode.

        Raises
        ------
        InputError
            If weights are not there, damaged or of another version, or those of a layer were not kept.
        """
        name, told = (self.dataset.attrs.get(key) for key in ("name", "weights_sha256"))
        path = store.weights_path(self.folder, store.checked(name))
        return _restored(settings, (self.image_shape, self.classes), path, told, layers)

    def _file(self, rule: RuleSettings) -> RuleFile:
        file, function = parted(rule.name)
        path = store.rule_path(self.folder, file, str(rule.sha256))
        told = f"the study kept '{file}' in it, sha256 {rule.sha256}; put it back"
        place = Path(os.path.realpath(path))
        if not place.is_relative_to(self.folder.resolve() / "rules"):
            raise InputError(f"'{path}' leads out of the study's folder 'rules': {told}")
        try:
            content = content_of(place)
        except FileNotFoundError:
            raise InputError(f"'{path}' is not there: {told}") from None
        except OSError as error:
            raise InputError(f"'{path}' cannot be read ({error.strerror}): {told}") from None
        return RuleFile(file, function, place, place.parent, content, self.allow_code)


def kept_runs(folder: Path, only: Sequence[str] = (), allow_code: bool = False) -> list[Kept]:
    """Return the finished runs of a study that did not diverge.

    Parameters
    ----------
    folder : Path
        A study's folder.
    only : sequence of "axis=value"
        As for `protocols.load`.
    allow_code : bool
        Give leave to execute the rule files of the user's own that the study keeps.

    Raises
    ------
    InputError
        If there is none, or none fits.
    """
    kept, lost = {}, 0
    for path in store.run_files(folder):
        dataset = store.load(path)
        if dataset.attrs["state"] != "done":
            lost += 1
            continue
        run = Run(dataset.attrs["condition"], _settings(dataset, path), {})
        kept[run.identity] = Kept(folder, run, dataset, allow_code)
    if not kept:
        raise InputError(f"no finished run in '{folder}' has fields: {lost} diverged; run it with other settings")
    return [kept[run.identity] for run in select([one.run for one in kept.values()], only)]


def _settings(dataset: xr.Dataset, path: Path) -> Settings:
    """Return a run's settings, once they and its classes are seen to be such as a run may have."""
    try:
        if not 1 <= (classes := float(dataset.attrs["classes"])) < math.inf:
            raise ValueError(f"classes = {classes:g} is no number of classes")
        return Settings.model_validate_json(dataset.attrs["settings"])
    except (ValueError, RecursionError) as error:  # a ValidationError is a ValueError of many lines
        first = error.errors()[0] if isinstance(error, ValidationError) else {"loc": (), "msg": str(error)}
        told = ": ".join(filter(None, (".".join(map(str, first["loc"])), first["msg"])))
        raise InputError(
            f"run file '{path}' has settings that this version cannot read ({one_line(told, 200)}); move it away and "
            "run the protocol again"
        ) from None


def _restored(
    settings: Settings, form: tuple[tuple[int, ...], int], path: Path, told: str | None, layers: Sequence[str]
) -> torch.nn.Module:
    if not path.is_file():
        raise InputError(
            f"weights '{path}' are not there: the run was made with train.keep = '{settings.train.keep}'; "
            "run it again with --set train.keep=network into another folder"
        )
    state = _state(path, told)
    routed = building.build(settings, *form)
    try:
        missing = routed.load_state_dict(state, strict=settings.train.keep == "network").missing_keys
    except RuntimeError as error:
        told = " ".join(str(error).split())[:160]
        raise InputError(
            f"weights '{path}' do not fit their network ({told}): another version kept them; run it again into another "
            "folder"
        ) from None
    for layer in layers:
        if any(name.startswith(f"network.{layer.partition('.')[0]}.") for name in missing):
            raise InputError(
                f"layer '{layer}' was not kept: the run was made with train.keep = 'features', all but the head; "
                "run it again with --set train.keep=network into another folder"
            )
    return routed.network.eval()


def _state(path: Path, told: str | None) -> dict[str, torch.Tensor]:
    """Return the tensors of a weights file, once its bytes are seen to be those that the run file tells of."""
    remedy = "delete the run's .nc beside them, and run the protocol again"
    try:
        content = path.read_bytes()
        if told is not None and store.digest(content) != told:
            raise InputError(f"weights '{path}' are not those of the run: their checksum is another; {remedy}")
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except InputError:
        raise
    except Exception as error:  # a damaged pickle raises whatever its bytes spell
        raise InputError(f"weights '{path}' cannot be read ({type(error).__name__}); {remedy}") from None
    if not isinstance(state, dict) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise InputError(f"weights '{path}' cannot be read (they are no tensors by name); {remedy}")
    return state
