"""Figures: (Dataset, Axes or Figure) -> artists, and nothing else in the package draws.

Every function draws into what it is given and returns the artists, so that figures can be composed; `plates`
composes those of a report. Matplotlib is used without pyplot, so nothing is global; the theme holds while a
function draws. All selection goes through `selection`, all intervals through `intervals`, so that figures and
tables cannot disagree.
"""

from rfmodel.figures.accuracy import accuracy_and_dead, test_accuracy
from rfmodel.figures.classes import class_composition, class_fraction, classes
from rfmodel.figures.distributions import metric_distribution, p0_and_shares, power_composition
from rfmodel.figures.feedback import FEEDBACK_ANGLES, FEEDBACK_ERRORS, diagnosed, feedback_by_step
from rfmodel.figures.galleries import field_gallery, gallery_figure
from rfmodel.figures.learning import feedback_alignment, history, learning_curves
from rfmodel.figures.numbers import Row, estimate_names, numbers, numbers_csv
from rfmodel.figures.plates import Plate, plates
from rfmodel.figures.selection import KINDS, conditions, layers, per_run, readout, require_finished, tidied
from rfmodel.figures.theme import condition_colours, new_figure, png, theme
from rfmodel.figures.tuning import orientation_tuning, polar_tuning

__all__ = [
    "FEEDBACK_ANGLES",
    "FEEDBACK_ERRORS",
    "KINDS",
    "Plate",
    "Row",
    "accuracy_and_dead",
    "class_composition",
    "class_fraction",
    "classes",
    "condition_colours",
    "diagnosed",
    "feedback_alignment",
    "feedback_by_step",
    "conditions",
    "estimate_names",
    "field_gallery",
    "gallery_figure",
    "history",
    "layers",
    "learning_curves",
    "metric_distribution",
    "new_figure",
    "numbers",
    "numbers_csv",
    "orientation_tuning",
    "p0_and_shares",
    "per_run",
    "plates",
    "png",
    "polar_tuning",
    "power_composition",
    "readout",
    "require_finished",
    "test_accuracy",
    "theme",
    "tidied",
]
