"""The rules that come with the package, by their names in the literature."""

from __future__ import annotations

from collections.abc import Mapping

from rfmodel.errors import InputError, one_of
from rfmodel.routing.feedback import Feedback, Fixed, Labels
from rfmodel.routing.options import (
    FactorOptions,
    OjaOptions,
    above_nought,
    mapping_of,
    taking,
    whole,
)
from rfmodel.routing.ports import Edge, Trace
from rfmodel.routing.reciprocal import KolenPollack, Signs, WeightMirror
from rfmodel.routing.rules import Plan, Rule, make_rule, register_rule
from rfmodel.routing.topologies import direct, layerwise, skipping


def _no_edges(record: Trace, sites: object) -> list[Edge]:
    return []


@register_rule("bp")
def backpropagation() -> Rule:
    """Backpropagation: no edge, the true Jacobian everywhere."""

    def feedback(plan: Plan) -> Feedback:
        raise InputError(f"backpropagation has no feedback map for '{plan.edge}'")

    return Rule("bp", _no_edges, feedback)


@register_rule("fa")
def feedback_alignment(scale: float = 1.0) -> Rule:
    """Feedback alignment: a fixed random B along each layer (Lillicrap et al. 2016; Hanut & Kadmon eq. 1)."""
    above_nought("fa", "scale", scale)
    return Rule("fa", layerwise, lambda plan: Fixed(plan.geometry, scale * plan.std, plan.generator, layer=plan.layer))


@register_rule("usf")
def uniform_sign_concordant(magnitude: str | float = "std") -> Rule:
    """Uniform sign-concordant feedback: B = s sign(W) (Liao et al. 2016).

    Parameters
    ----------
    magnitude : "std" or float
        s: the standard deviation of the law that the weights start from, or a number (the paper's 1).
    """
    if magnitude != "std":
        above_nought("usf", "magnitude", magnitude)

    def feedback(plan: Plan) -> Feedback:
        s = plan.std if magnitude == "std" else float(magnitude)
        return Signs(plan.geometry, plan.std, plan.seed, str(plan.edge), plan.layer, "uniform", s)

    return Rule("usf", layerwise, feedback)


@register_rule("brsf")
def batchwise_random_sign_concordant(scale: float = 1.0) -> Rule:
    """Batchwise random-magnitude sign-concordant feedback: |R| sign(W), R drawn for each update (Liao et al. 2016)."""
    return _random_signs("brsf", "batchwise", scale)


@register_rule("frsf")
def fixed_random_sign_concordant(scale: float = 1.0) -> Rule:
    """Fixed random-magnitude sign-concordant feedback: |R| sign(W), R drawn once (Liao et al. 2016)."""
    return _random_signs("frsf", "fixed", scale)


def _random_signs(name: str, magnitudes: str, scale: float) -> Rule:
    above_nought(name, "scale", scale)

    def feedback(plan: Plan) -> Feedback:
        return Signs(plan.geometry, plan.std, plan.seed, str(plan.edge), plan.layer, magnitudes, scale)

    return Rule(name, layerwise, feedback)


@register_rule("kolen_pollack")
def kolen_pollack(scale: float = 1.0) -> Rule:
    """Kolen-Pollack: B is updated as the weights are, by their own optimiser (Kolen & Pollack 1994; Akrout 2019)."""
    above_nought("kolen_pollack", "scale", scale)

    def feedback(plan: Plan) -> Feedback:
        return KolenPollack(plan.geometry, scale * plan.std, plan.generator, plan.layer, str(plan.edge))

    return Rule("kolen_pollack", layerwise, feedback)


@register_rule("weight_mirror")
def weight_mirror(
    every: int = 1,
    samples: int = 64,
    rate: float = 0.01,
    decay: float = 0.01,
    noise: float = 1.0,
    scale: float = 1.0,
) -> Rule:
    """Weight mirrors: B follows W by the correlations of noise, between task steps (Akrout et al. 2019)."""
    for option, value in (("rate", rate), ("noise", noise), ("scale", scale)):
        above_nought("weight_mirror", option, value)
    for option, value in (("every", every), ("samples", samples)):
        whole("weight_mirror", option, value, 1)
    if isinstance(decay, bool) or not isinstance(decay, int | float) or not 0 <= decay < 1:
        raise InputError(f"decay {decay!r} of rule 'weight_mirror' is impossible; use 0 to below 1")

    def feedback(plan: Plan) -> Feedback:
        return WeightMirror(
            plan.geometry,
            scale * plan.std,
            plan.seed,
            str(plan.edge),
            plan.layer,
            plan.shape,
            every=every,
            samples=samples,
            rate=rate,
            decay=decay,
            noise=noise,
        )

    return Rule("weight_mirror", layerwise, feedback)


@register_rule("dfa")
def direct_feedback_alignment(source: str = "output", scale: float = 1.0) -> Rule:
    """Direct feedback alignment: the output error to every site by a fixed random B (Nokland 2016)."""
    above_nought("dfa", "scale", scale)
    return Rule("dfa", direct(source), lambda plan: Fixed(plan.geometry, scale * plan.std, plan.generator))


@register_rule("sparse_dfa")
def sparse_direct_feedback_alignment(density: float = 0.1, source: str = "output", scale: float = 1.0) -> Rule:
    """Sparse direct feedback alignment: each unit hears a few channels of the error (Crafton et al. 2019).

    Parameters
    ----------
    density : float
        Fraction of the error's channels that a unit hears, at least one; what is left is scaled to keep the variance.
    """
    above_nought("sparse_dfa", "scale", scale)
    if isinstance(density, bool) or not isinstance(density, int | float) or not 0 < density <= 1:
        raise InputError(f"density {density!r} of rule 'sparse_dfa' is impossible; use above 0 to 1")
    return Rule("sparse_dfa", direct(source), lambda p: Fixed(p.geometry, scale * p.std, p.generator, density))


@register_rule("drtp")
def direct_random_target_projection(scale: float = 1.0) -> Rule:
    """Direct random target projection: the label to every site in place of the error (Frenkel et al. 2021)."""
    above_nought("drtp", "scale", scale)

    def feedback(plan: Plan) -> Feedback:
        if not plan.from_output:
            raise InputError(
                f"rule 'drtp' projects labels, and '{plan.edge}' does not read the output's {plan.classes} classes"
            )
        return Labels(plan.geometry, scale * plan.std, plan.generator)

    return Rule("drtp", direct("output"), feedback)


@register_rule("ldfa")
@taking(OjaOptions)
def ldfa(options: OjaOptions) -> Rule:
    """Local LDFA: B = QP along each layer, P by Oja's rule on the arriving error, Q fixed or Hebbian.

    Hanut & Kadmon eqs. 12, 15, 18 and Algorithm 2. p = "kolen_pollack" with q = "hebbian" is the factorised
    Kolen-Pollack rule of the released code's vision transformers.
    """
    return Rule("ldfa", layerwise, options.local, wants_output=options.use_targets)


@register_rule("dldfa")
@taking(OjaOptions)
def dldfa(options: OjaOptions, source: str = "output") -> Rule:
    """Direct LDFA: the error of a later layer straight to each site by B = QP (Hanut & Kadmon eq. 17)."""
    return Rule("dldfa", direct(source), options.local, wants_output=options.use_targets)


@register_rule("ldfa_normative")
@taking(FactorOptions)
def ldfa_normative(options: FactorOptions) -> Rule:
    """Normative LDFA: B = QP along each layer, Q and P descending ||QP - W^T||^2 (eqs. 8, 14, Algorithm 1)."""

    def feedback(plan: Plan) -> Feedback:
        return options.feedback(plan, learn_P="reconstruction", learn_Q="reconstruction")

    return Rule("ldfa_normative", layerwise, feedback)


@register_rule("skip")
def skip(k: int = 1, rule: str = "fa", **options: object) -> Rule:
    """Skip feedback: each site's error is read k weighted layers further up than its own.

    Parameters
    ----------
    k : int
        Layers that the error leaps over; 0 is layerwise.
    rule : {"fa", "ldfa"}
        Whose maps carry it: a fixed random B, or QP with that rule's options.
    """
    whole("skip", "k", k)
    made = make_rule(one_of("option rule of rule 'skip':", rule, ("fa", "ldfa")), **options)
    return Rule("skip", skipping(k), made.feedback, wants_output=made.wants_output)


@register_rule("partition")
def partition(parts: Mapping[str, object]) -> Rule:
    """A rule for each part of the network, as one rule.

    Parameters
    ----------
    parts : table of site pattern to rule
        {"retina": {"name": "ldfa", "rank": 2}, "vvs.*": "fa"}; the rest learns by backpropagation.
    """
    made = {}
    for pattern, part in mapping_of("partition", "parts", parts).items():
        if isinstance(part, Rule):
            made[pattern] = part
            continue
        options = {"name": part} if isinstance(part, str) else dict(mapping_of("partition", f"part '{pattern}'", part))
        if "name" not in options:
            raise InputError(f"part '{pattern}' of rule 'partition' has no name; say for example name = 'fa'")
        made[pattern] = make_rule(str(options.pop("name")), **options)
    return Rule("partition", _no_edges, lambda plan: None, parts=made)
