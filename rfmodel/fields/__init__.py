"""Receptive fields of any torch network: gradients, most exciting images and spike-triggered averages."""

from rfmodel.fields.extraction import check_method, extract, model_hash
from rfmodel.fields.maximise import Ascent
from rfmodel.fields.sta import Noise, sta_samples

__all__ = ["Ascent", "Noise", "check_method", "extract", "model_hash", "sta_samples"]
