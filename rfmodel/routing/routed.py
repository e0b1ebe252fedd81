"""Routed: a network whose forward pass is its own and whose backward pass is a rule's.

At each target the graph is cut: the module gets a detached tensor, so the true transposed weight never
contributes and its input gradient is never computed. At each source an identity is tapped in whose backward pass
hands the error on, carries it to the target by the feedback map, and returns that map's plasticity as its gradient;
where the two are far apart, a node made with the target does the carrying, when its turn comes (`taps.Deliver`).
One `loss.backward()` therefore runs any rule; a unit with a loss of its own may learn before it (`freeing_units`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import inf

import torch
from torch import Tensor, nn

from rfmodel.errors import InputError
from rfmodel.factors import take_ranks
from rfmodel.routing.cuts import is_parted
from rfmodel.routing.feedback import Feedback, Step, onehot_of
from rfmodel.routing.hooks import place_hooks
from rfmodel.routing.laying import factored, heads_of, lay, step_of
from rfmodel.routing.local_loss import LocalLoss
from rfmodel.routing.observing import Loss, Observation, take
from rfmodel.routing.ports import Edge, Port, trace
from rfmodel.routing.rules import Rule, make_rule
from rfmodel.routing.wiring import Note, Pass, Wiring


class Routed(nn.Module):
    r"""A network taught by a rule: forward the network's, backward the rule's.

    .. math:: \delta_{target} = \sum_{e:\, source(e) \to target} B_e\, \delta_{source(e)}

    Parameters
    ----------
    network : nn.Module
        A plain network. Called by itself it stays plain: the hooks act only inside `Routed.forward`. A rule that
        trains factors puts factored layers in the place of its own; see `rfmodel.factors.merge`.
    rules : mapping of site pattern to Rule or rule name
        See `laying.lay`; {} is backpropagation.
    example : Tensor, shape (batch, ...)
        An input to trace the network with; its values do not matter.
    seed : int
        Each map is drawn from (seed, edge name).
    epochs : int, optional
        Of the training, which schedules of ranks need.

    Attributes
    ----------
    edges : list of Edge
    feedback : nn.ModuleDict
        The maps; `feedback_parameters()` and `network.parameters()` go to their own optimisers.
    maps : dict of Edge to Feedback
    cuts : list of Port
        Where units end that learn from a loss of their own.
    heads : nn.ModuleDict
        Their losses, whose parameters belong to the optimiser of the network's weights.
    own_step : Module or None
        The training step of a rule that is no list of edges.
    local : nn.ModuleDict
        The local losses of factored layers; `losses` by the layer's name.
    advances : bool
        Whether `advance` must be called after each optimiser step.
    steps : int
        Optimiser steps done, as counted by `advance`.
    loss_weight : float or None
        Share of the loss that one sample carries; None is 1/len(batch), that of a mean loss. Set it to 1/N where
        a step's N samples arrive in several passes, so that plasticity does not depend on the split; under DDP N
        are the process's own samples. A loss that is a sum over samples must be divided by N first.
    processes : int
        How many average their gradients, for what is a sum over a batch.

    Raises
    ------
    InputError
        If a rule cannot be laid over the network; the message names the site, edge or port.
    """

    def __init__(
        self,
        network: nn.Module,
        rules: Mapping[str, Rule | str],
        example: Tensor,
        seed: int = 0,
        epochs: int | None = None,
    ) -> None:
        super().__init__()
        self.network = network
        record = trace(network, example)
        made = {site: make_rule(rule) if isinstance(rule, str) else rule for site, rule in rules.items()}
        plain = dict(network.named_modules())
        try:
            losses = factored(record, made, seed, epochs)
            if losses:
                record = trace(network, example)  # of the factored layers
            laid = lay(record, made, seed, losses)
            heads = heads_of(record, made, seed)
            self.own_step = step_of(record, made, seed)
        except InputError:
            for name, module in plain.items():  # what cannot be taught leaves the network as it came
                if network.get_submodule(name) is not module:
                    network.set_submodule(name, module)
            raise
        if laid or heads or self.own_step is not None:
            _refuse_in_place(network)
        self.edges = list(laid)
        self.feedback = nn.ModuleDict({_key(edge): feedback for edge, feedback in laid.items()})
        self.feedback.to(example.device)
        self.local = nn.ModuleDict({name.replace(".", "/"): loss for name, loss in losses.items()})
        self.cuts = list(heads)
        self.heads = nn.ModuleDict({_key(port): head for port, head in heads.items()})
        self.weighted = record.weighted
        self.order = {port: firing.when for port, firing in record.firings.items()}
        self.loss_weight: float | None = None
        self.processes = 1
        self.classes = record.classes
        self.reads_labels = bool(heads) or any(feedback.reads_labels for feedback in laid.values())
        self.advances = bool(losses) or any(feedback.advances for feedback in laid.values())
        self.steps, self._seen = 0, {}
        self._exact = False
        self._frees, self._is_parted = False, bool(heads) and not laid and is_parted(record, self.cuts)
        self._wiring = Wiring()
        place_hooks(network, self._wiring, self.maps, heads, losses, self.order)

    @property
    def maps(self) -> dict[Edge, Feedback]:
        return dict(zip(self.edges, self.feedback.values(), strict=True))

    @property
    def losses(self) -> dict[str, LocalLoss]:
        """The local losses of factored layers, by the layer's name, in the order in which they fire."""
        return {name.replace("/", "."): loss for name, loss in self.local.items()}

    def forward(self, images: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return the network's output; `labels` (batch,) are needed only by rules that learn from them."""
        if not self.routes_errors:
            return self.network(images)
        if self.advances and self.training and not torch.compiler.is_compiling():
            self._refuse_standing_still()
        passed = self._begin(images, labels)
        with self._wiring.serve(passed):
            return self._run(images, passed.step)

    def _run(self, images: Tensor, step: Step) -> Tensor:
        return (
            self.network(images) if self._exact or self.own_step is None else self.own_step(self.network, images, step)
        )

    def _begin(self, images: Tensor, labels: Tensor | None, cutting: bool = True, note: Note | None = None) -> Pass:
        weight = 1 / max(len(images), 1) if self.loss_weight is None else self.loss_weight
        if not 0 < weight < inf:
            raise InputError(f"loss_weight {weight} is impossible; use a sample's share of the loss, 1/N")
        if labels is None and self.cuts:
            raise InputError("a rule that learns from labels needs them: call routed(images, labels)")
        onehot = onehot_of(labels, self.classes) if self.reads_labels and labels is not None else None
        frees = self._frees and self.training and note is None and torch.is_grad_enabled()
        return Pass(Step(weight, len(images) * weight, onehot, self.processes), cutting, note, frees=frees)

    def _refuse_standing_still(self) -> None:
        seen = self._versions()
        if any(version != self._seen.get(key, version) for key, version in seen.items()):
            raise InputError(
                "the weights have changed and the feedback has not been told: this rule works between steps; call "
                "routed.advance() after each optimiser.step()"
            )
        self._seen = seen

    def _versions(self) -> dict[int, int]:
        watched = [f.layer.weight for f in self.maps.values() if f.advances and f.layer is not None]
        return {id(weight): weight._version for weight in watched}

    def load_state_dict(self, *args: object, **options: object):
        """Load as any module does; weights that come from a file are no step that feedback should be told of."""
        self._seen = {}
        self.take_ranks(args[0] if args else options["state_dict"])
        return super().load_state_dict(*args, **options)

    def get_extra_state(self) -> Tensor:
        """Return how many steps were done: draws and intervals of a run that is taken up again go on from there."""
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Tensor) -> None:
        """Take over how many steps were done."""
        self.steps = int(state)

    @property
    def routes_errors(self) -> bool:
        """Whether gradients through this module follow feedback maps and not the true Jacobian."""
        return bool(self.edges or self.local or self.cuts or self.own_step is not None) and not self._exact

    @contextmanager
    def exact(self) -> Iterator[nn.Module]:
        """Within this context gradients are true gradients; it yields the plain network."""
        before, self._exact = self._exact, True
        try:
            yield self.network
        finally:
            self._exact = before

    @property
    def frees_units(self) -> bool:
        """Whether `freeing_units` frees anything: units learn from losses of their own, and share no operation."""
        return self._is_parted

    @contextmanager
    def freeing_units(self) -> Iterator[None]:
        """Within it a unit that has a loss of its own learns from it where it ends, and what it kept for that is freed.

        A step then holds the activities of the largest unit and not of all. The gradients are the same to the last bit,
        but those of these units come in the forward pass, in training mode and where gradients are on: clear gradients
        before it, and not between it and `backward()`, whose loss must not read these units' activities. It changes
        nothing where `frees_units` is False, as it was when the rule was laid, or the step is compiled. Activation
        checkpoints run a region once for each unit in it that learns. DistributedDataParallel cannot be called within:
        it raises in the second step.
        """
        before, self._frees = self._frees, self._is_parted
        try:
            yield
        finally:
            self._frees = before

    def feedback_parameters(self, as_weights: bool | None = None) -> list[nn.Parameter]:
        """Return the feedback weights that learn.

        Parameters
        ----------
        as_weights : bool, optional
            True: only those that belong to the optimiser of the network's weights (Kolen & Pollack); False: only
            the others; by default all.
        """
        chosen = [f for f in self.maps.values() if as_weights is None or f.learns_as_weights == as_weights]
        chosen += [] if as_weights else list(self.local.values())
        chosen += [] if as_weights is False else list(self.heads.values())
        return [p for feedback in chosen for p in feedback.parameters() if p.requires_grad]

    def advance(self, optimisers: Sequence[torch.optim.Optimizer] = ()) -> None:
        """Do what rules do between steps: draw magnitudes, mirror weights, factor anew. Call it after each step.

        Parameters
        ----------
        optimisers : sequence of Optimizer
            Those of the feedback, whose moments some options clear.
        """
        self.steps += 1
        if self.advances:
            for part in (*self.maps.values(), *self.local.values()):
                part.advance(self.steps, optimisers)
            self._seen = {}

    def start_epoch(self, epoch: int, optimisers: Sequence[torch.optim.Optimizer] = (), cutting: bool = True) -> bool:
        """Do what rules do before an epoch (the first is 1): take the rank that a schedule gives.

        Parameters
        ----------
        epoch : int
        optimisers : sequence of Optimizer
            Those of weights and feedback, whose moments go with what is cut.
        cutting : bool
            False for an epoch that has begun before: factors that are loaded have its rank.

        Returns
        -------
        bool
            Whether parameters have other shapes than before.
        """
        for feedback in self.maps.values():
            feedback.start_epoch(epoch, optimisers)
        return any([loss.start_epoch(epoch, optimisers, cutting) for loss in self.local.values()])

    def take_ranks(self, state: Mapping[str, object]) -> None:
        """Give factored layers the ranks that they have in a state dict of this module.

        Raises
        ------
        InputError
            If the state's factors are not of these layers, or of a higher rank than they.
        """
        if self.local:
            take_ranks(self.network, state, "network.")
        for loss in self.local.values():
            loss.take_rank()

    def observe(self, images: Tensor, labels: Tensor, loss: Loss = nn.functional.cross_entropy) -> Observation:
        """Return what a backward pass does under the rule, or under backpropagation inside `exact()`.

        Leaves every `.grad`, the random state, the mode of the network and its buffers as they were. Runs in the
        network's mode; call `eval()` before it where dropout or batch statistics should not take part. The error at a
        target is the one that comes through its module: what a skip beside it carries is no part of it.

        Parameters
        ----------
        images : Tensor, shape (batch, ...)
        labels : Tensor, shape (batch,)
        loss : callable of (output, labels)
        """
        found = Observation()
        passed = self._begin(images, labels, cutting=not self._exact, note=found.note)

        def run() -> Tensor:
            with self._wiring.serve(passed):
                return self._run(images, passed.step)

        take(found, self, passed.live, run, lambda output: loss(output, labels))
        return found

    def teaching_signals(
        self, images: Tensor, labels: Tensor, loss: Loss = nn.functional.cross_entropy
    ) -> dict[Port, Tensor]:
        """Return the error delivered at each target: the rule's, or the true one inside `exact()`; see `observe`."""
        return self.observe(images, labels, loss).signals if self.edges or self.cuts else {}


def _key(place: Edge | Port) -> str:
    return str(place).replace(".", "/")  # a ModuleDict's keys have no dots


def _refuse_in_place(network: nn.Module) -> None:
    for name, module in network.named_modules():
        if getattr(module, "inplace", False):
            raise InputError(
                f"module '{name}' works in place, which would overwrite a tapped tensor; use inplace=False"
            )
