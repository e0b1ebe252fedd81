"""Figures: (Dataset, Axes or Figure) -> artists, and nothing else in the package draws.

Every function draws into what it is given and returns the artists, so that figures can be composed; `plates`
composes those of a report. Matplotlib is used without pyplot, so nothing is global; the theme holds while a
function draws. All selection goes through `selection`, all intervals through `intervals`, so that figures and
tables cannot disagree.
"""

from rfmodel.figures.account_by_layer import account_by_layer, account_height
from rfmodel.figures.accuracy import accuracy_and_dead, test_accuracy
from rfmodel.figures.against import accuracy_by_rank, flops_to_fraction
from rfmodel.figures.against_reference import metric_against
from rfmodel.figures.agreement import agreement_matrix
from rfmodel.figures.alignment import aligned, alignment_by_epoch, alignment_heights, mean_angles
from rfmodel.figures.animation import animate_fields
from rfmodel.figures.bars import accuracy_bars
from rfmodel.figures.by_axis import metric_by_axis, values_by_axis
from rfmodel.figures.classes import class_composition, class_fraction, classes
from rfmodel.figures.comparison import Comparison, compare
from rfmodel.figures.costs import PARTS, cost_by_part, costed, flops_to, relative_flops, step_flops, to_fraction
from rfmodel.figures.curves import accuracy_curves
from rfmodel.figures.discrimination import discrimination_map
from rfmodel.figures.distributions import metric_distribution, p0_and_shares, power_composition
from rfmodel.figures.errors_by_epoch import error_curves, errors_height
from rfmodel.figures.factors_by_epoch import FACTORS, factored, factors_by_epoch, factors_height
from rfmodel.figures.feedback import FEEDBACK_ANGLES, FEEDBACK_ERRORS, diagnosed, feedback_by_step
from rfmodel.figures.fit_gallery import fit_figure, fit_gallery
from rfmodel.figures.galleries import field_gallery, gallery_figure
from rfmodel.figures.groups import Line, baseline, level_conditions, lines, narrow_controls, settings_of
from rfmodel.figures.learning import feedback_alignment, history, learning_curves
from rfmodel.figures.linear_dynamics import overlap_by_mode, overlap_by_rank, recovery_time
from rfmodel.figures.matrix_factorisation import angle_panels, error_by_width, principal_angles, separation, worst_case
from rfmodel.figures.numbers import OVERALL, Row, estimate_names, numbers, numbers_csv, overall
from rfmodel.figures.overlaps_over_time import mode_overlaps, overlap_panels
from rfmodel.figures.plane import nxny_plane, nxny_planes
from rfmodel.figures.plate import Plate
from rfmodel.figures.plates import plates
from rfmodel.figures.published_dynamics import Shown, learning_dynamics, published_panels
from rfmodel.figures.responses import area_summation, response_curves, tuning_curves
from rfmodel.figures.rule_plates import alignment_plates, error_plates, factor_plates
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
from rfmodel.figures.simplex import power_simplex, power_simplexes, simplex_places
from rfmodel.figures.stages import has_trajectory, stage_epochs, stages
from rfmodel.figures.strips import fields_over_epochs, film, strip_figure
from rfmodel.figures.theme import condition_colours, new_axes, new_figure, panel, png, theme
from rfmodel.figures.theory_agreement import difference_by_step, simulation_agreement
from rfmodel.figures.theory_lines import matrices, rule_name, theory_lines
from rfmodel.figures.theory_numbers import TheoryRow, theory_headings, theory_numbers, theory_numbers_csv
from rfmodel.figures.theory_over_time import alignment_over_time, capture_over_time, error_over_time, residual_over_time
from rfmodel.figures.theory_plates import theory_model, theory_plates
from rfmodel.figures.theory_selection import manners as theory_manners
from rfmodel.figures.theory_selection import of_condition, tidied_theory
from rfmodel.figures.trajectories import metric_over_epochs, over_epochs
from rfmodel.figures.tuning import orientation_tuning, polar_tuning

__all__ = [
    "Comparison",
    "FACTORS",
    "FEEDBACK_ANGLES",
    "FEEDBACK_ERRORS",
    "KINDS",
    "Line",
    "OVERALL",
    "PARTS",
    "Plate",
    "Row",
    "Shown",
    "TheoryRow",
    "account_by_layer",
    "account_height",
    "accuracy_and_dead",
    "accuracy_bars",
    "accuracy_by_rank",
    "accuracy_curves",
    "agreement_matrix",
    "aligned",
    "alignment_by_epoch",
    "alignment_heights",
    "alignment_over_time",
    "alignment_plates",
    "angle_panels",
    "animate_fields",
    "area_summation",
    "baseline",
    "capture_over_time",
    "class_composition",
    "class_fraction",
    "classes",
    "compare",
    "condition_colours",
    "conditions",
    "cost_by_part",
    "costed",
    "diagnosed",
    "difference_by_step",
    "discrimination_map",
    "error_by_width",
    "error_curves",
    "error_over_time",
    "error_plates",
    "errors_height",
    "estimate_names",
    "factor_plates",
    "factored",
    "factors_by_epoch",
    "factors_height",
    "feedback_alignment",
    "feedback_by_step",
    "field_gallery",
    "fielded",
    "fields_over_epochs",
    "film",
    "finished",
    "fit_figure",
    "fit_gallery",
    "flops_to",
    "flops_to_fraction",
    "gallery_figure",
    "has_trajectory",
    "history",
    "last_values",
    "layers",
    "learning_curves",
    "learning_dynamics",
    "level_conditions",
    "lines",
    "matrices",
    "mean_angles",
    "metric_against",
    "metric_by_axis",
    "metric_distribution",
    "metric_over_epochs",
    "mode_overlaps",
    "narrow_controls",
    "new_axes",
    "new_figure",
    "numbers",
    "numbers_csv",
    "nxny_plane",
    "nxny_planes",
    "of_condition",
    "orientation_tuning",
    "over_epochs",
    "overall",
    "overlap_by_mode",
    "overlap_by_rank",
    "overlap_panels",
    "p0_and_shares",
    "panel",
    "per_run",
    "place",
    "plates",
    "png",
    "polar_tuning",
    "power_composition",
    "power_simplex",
    "power_simplexes",
    "principal_angles",
    "published_panels",
    "readout",
    "recovery_time",
    "relative_flops",
    "require_finished",
    "residual_over_time",
    "response_curves",
    "rule_name",
    "seeds",
    "separation",
    "settings_of",
    "simplex_places",
    "simulation_agreement",
    "stage_epochs",
    "stages",
    "step_flops",
    "strip_figure",
    "test_accuracy",
    "theme",
    "theory_headings",
    "theory_lines",
    "theory_manners",
    "theory_model",
    "theory_numbers",
    "theory_numbers_csv",
    "theory_plates",
    "tidied",
    "tidied_theory",
    "to_fraction",
    "tuning_curves",
    "values_by_axis",
    "worst_case",
]
