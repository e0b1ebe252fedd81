"""Figures: (Dataset, Axes or Figure) -> artists, and nothing else in the package draws.

Every function draws into what it is given and returns the artists, so that figures can be composed; `plates`
composes those of a report. Matplotlib is used without pyplot, so nothing is global; the theme holds while a
function draws. All selection goes through `selection`, all intervals through `intervals`, so that figures and
tables cannot disagree.
"""

from rfmodel.figures.accuracy import accuracy_and_dead, test_accuracy
from rfmodel.figures.against import accuracy_by_rank, flops_to_fraction
from rfmodel.figures.bars import accuracy_bars
from rfmodel.figures.classes import class_composition, class_fraction, classes
from rfmodel.figures.comparison import Comparison, compare
from rfmodel.figures.costs import PARTS, cost_by_part, costed, flops_to, relative_flops, step_flops, to_fraction
from rfmodel.figures.curves import accuracy_curves
from rfmodel.figures.distributions import metric_distribution, p0_and_shares, power_composition
from rfmodel.figures.feedback import FEEDBACK_ANGLES, FEEDBACK_ERRORS, diagnosed, feedback_by_step
from rfmodel.figures.galleries import field_gallery, gallery_figure
from rfmodel.figures.groups import Line, baseline, level_conditions, lines, narrow_controls, settings_of
from rfmodel.figures.learning import feedback_alignment, history, learning_curves
from rfmodel.figures.numbers import OVERALL, Row, estimate_names, numbers, numbers_csv, overall
from rfmodel.figures.plates import Plate, plates
from rfmodel.figures.selection import (
    KINDS,
    conditions,
    fielded,
    finished,
    last_values,
    layers,
    per_run,
    place,
    readout,
    require_finished,
    seeds,
    tidied,
)
from rfmodel.figures.theme import condition_colours, new_axes, new_figure, panel, png, theme
from rfmodel.figures.tuning import orientation_tuning, polar_tuning

__all__ = [
    "Comparison",
    "FEEDBACK_ANGLES",
    "FEEDBACK_ERRORS",
    "KINDS",
    "Line",
    "OVERALL",
    "PARTS",
    "Plate",
    "Row",
    "accuracy_and_dead",
    "accuracy_bars",
    "accuracy_by_rank",
    "accuracy_curves",
    "baseline",
    "class_composition",
    "class_fraction",
    "classes",
    "compare",
    "condition_colours",
    "conditions",
    "cost_by_part",
    "costed",
    "diagnosed",
    "estimate_names",
    "feedback_alignment",
    "feedback_by_step",
    "field_gallery",
    "fielded",
    "finished",
    "flops_to",
    "flops_to_fraction",
    "gallery_figure",
    "history",
    "last_values",
    "layers",
    "learning_curves",
    "level_conditions",
    "lines",
    "metric_distribution",
    "narrow_controls",
    "new_axes",
    "new_figure",
    "numbers",
    "numbers_csv",
    "orientation_tuning",
    "overall",
    "p0_and_shares",
    "panel",
    "per_run",
    "place",
    "plates",
    "png",
    "polar_tuning",
    "power_composition",
    "readout",
    "relative_flops",
    "require_finished",
    "seeds",
    "settings_of",
    "step_flops",
    "test_accuracy",
    "theme",
    "tidied",
    "to_fraction",
]
