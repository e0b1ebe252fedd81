"""Settings of the solvable models: every choice that their numbers depend on. Knows no torch."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from rfmodel.network_settings import Count, NotNegative, Positive, Table

Manner = Literal["flow", "full_batch", "online"]


class SpectrumSettings(Table):
    """Singular values: see `rfmodel.theory.spectrum`."""

    law: Literal["linear", "power", "exponential", "step", "flat", "gaussian", "given", "worst"] = "linear"
    modes: Count = 16  # singular values that are not zero
    largest: Positive = 2.0
    smallest: Positive | None = None  # the last of a linear or exponential law; the tail of a step; the worst's floor
    exponent: NotNegative = 0.5  # of a power law
    head: Count | None = None  # values before the step
    values: tuple[NotNegative, ...] = ()  # of the law "given"

    @model_validator(mode="after")
    def _given(self) -> SpectrumSettings:
        if (self.law == "given") != bool(self.values):
            raise ValueError("the law 'given' and its values need each other")
        return self


class LinearTaskSettings(Table):
    """The task y = A x + noise and the sizes of the network that learns it."""

    inputs: Count = 128
    hidden: Count = 64
    outputs: Count = 64
    spectrum: SpectrumSettings = SpectrumSettings()
    samples: Annotated[int, Field(ge=0)] = 0  # 0 is the population
    noise: NotNegative = 0.0  # standard deviation of each output


class FeedbackSettings(Table):
    """How the error reaches the hidden layer, and what of its path learns."""

    name: Literal["gd", "fa", "adaptive_q", "normative", "oja"] = "gd"
    rank: Count | None = None  # of B = Q P; as many as there are hidden or output units, whichever are fewer
    drive: Literal["targets", "residual"] = "targets"  # of Oja's rule: eq. A57 or eq. 16
    learn_q: bool = False  # Q too, by eq. A58, beside Oja's rule
    rate: Positive = 1.0  # of the feedback's learning against the forward weights'
    annealing: NotNegative = 0.0  # that rate falls as exp(-annealing * time)
    decay: NotNegative = 0.0  # of P and Q: lambda of eq. 16, lambda / eta of eqs. 15 and 18


class InitialSettings(Table):
    """The weights before learning."""

    forward: Positive = 1e-3  # standard deviation of each entry
    balanced: bool = False  # forward weights in the task's own modes, of size `forward`, as Saxe et al. have them
    feedback: Literal["gaussian", "orthonormal"] = "gaussian"  # directions of gain one, in the mean or exactly


class IntegrationSettings(Table):
    """How far, how finely and in which manners a model is followed. Time is in units of tau: steps times step size."""

    duration: Positive = 40.0
    points: Annotated[int, Field(ge=2, le=10_000)] = 101
    manners: tuple[Manner, ...] = ("flow", "full_batch")
    step: Positive = 0.02
    batch: Count = 64  # samples of an online step
    tolerance: Positive = 1e-8  # of the flow's integration

    @model_validator(mode="after")
    def _flow(self) -> IntegrationSettings:
        object.__setattr__(self, "manners", tuple(dict.fromkeys(self.manners)))
        if "flow" not in self.manners:
            raise ValueError("manners must hold 'flow', which the others are compared with")
        return self


class ConditionSettings(Table):
    """What the settings of every model answer: a condition is one run, which holds all of its seeds."""

    marks: ClassVar[tuple[str, ...]] = ()  # what tells the runs of one condition apart
    elsewhere: ClassVar[dict[str, str]] = {"seed": "a condition holds all of its seeds; --set seeds=1 would do"}

    def unseeded(self) -> ConditionSettings:
        """Return the settings of the condition."""
        return self


class LinearDynamicsSettings(ConditionSettings):
    """Every choice of one condition of the two-layer linear network: see `rfmodel.theory.linear_dynamics`."""

    theory: Literal["linear_dynamics"] = "linear_dynamics"
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 10
    task: LinearTaskSettings = LinearTaskSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    initial: InitialSettings = InitialSettings()
    integration: IntegrationSettings = IntegrationSettings()

    @model_validator(mode="after")
    def _rank(self) -> LinearDynamicsSettings:
        # Resolved here, so that a condition has one identity whether its full rank is spelt or left out.
        if self.feedback.rank is None and self.feedback.name != "gd":
            full = {"rank": min(self.task.hidden, self.task.outputs)}
            object.__setattr__(self, "feedback", self.feedback.model_copy(update=full))
        return self

    @property
    def coordinates(self) -> dict[str, Any]:
        """Where the condition stands in a study; gradient descent's rank is NaN, whatever the network's is."""
        rank = self.feedback.rank
        return {
            "rule": self.feedback.name,
            "rank": float("nan" if rank is None else rank),
            "law": self.spectrum.law,
        }

    @property
    def spectrum(self) -> SpectrumSettings:
        """That of the task."""
        return self.task.spectrum


class MatrixSettings(Table):
    """The matrix Y that is factorised."""

    rows: Count = 32
    columns: Count = 32
    spectrum: SpectrumSettings = SpectrumSettings()


class FactorRuleSettings(Table):
    """How the factors learn."""

    name: Literal["gd", "fa", "fa_star"] = "gd"
    width: Count = 8  # of the factorisation: columns of Z, rows of W


class FactorisationSettings(ConditionSettings):
    """Every choice of one condition of matrix factorisation: see `rfmodel.theory.matrix_factorisation`."""

    usual: ClassVar[dict[str, dict[str, float]]] = {"initial": {"forward": 1e-2}, "integration": {"duration": 200.0}}
    theory: Literal["matrix_factorisation"] = "matrix_factorisation"
    seeds: Annotated[int, Field(ge=1, le=10_000)] = 20
    matrix: MatrixSettings = MatrixSettings()
    rule: FactorRuleSettings = FactorRuleSettings()
    initial: InitialSettings = InitialSettings(**usual["initial"])
    integration: IntegrationSettings = IntegrationSettings(**usual["integration"])

    @property
    def coordinates(self) -> dict[str, Any]:
        """Where the condition stands in a study."""
        return {"rule": self.rule.name, "width": float(self.rule.width), "law": self.spectrum.law}

    @property
    def spectrum(self) -> SpectrumSettings:
        """That of the matrix."""
        return self.matrix.spectrum


TheorySettings = LinearDynamicsSettings | FactorisationSettings
MODELS = {"linear_dynamics": LinearDynamicsSettings, "matrix_factorisation": FactorisationSettings}
