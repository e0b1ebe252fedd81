"""Resuming: what a training holds at one moment, kept in a checkpoint, and a training that goes on from there.

Nothing of it changes the training: a run that was stopped at any step and taken up again ends with the numbers, bit by
bit, of one that was not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import nn

from rfmodel import checkpoint_checks as checks
from rfmodel import history, parallel, stopping
from rfmodel.checkpoint_checks import part, want
from rfmodel.checkpoints import Checkpoints, Stateful
from rfmodel.costs import Peak
from rfmodel.hidden_state import hidden
from rfmodel.optimisers import make_optimiser
from rfmodel.routing.low_rank import LowRank
from rfmodel.settings import OptimiserSettings
from rfmodel.spending import Spending

if TYPE_CHECKING:
    from rfmodel.loop import Loop
    from rfmodel.training import Trained

STATES = ("done", "diverged")


class Keeping:
    """The checkpoints of one training under way.

    Parameters
    ----------
    loop : Loop
    result : Trained
        What has been recorded so far.
    peak : Peak
    checkpoints : Checkpoints, optional
        Without them nothing is kept.
    beside : mapping of name to Stateful
        In the first of several processes.
    """

    def __init__(
        self,
        loop: Loop,
        result: Trained,
        peak: Peak,
        checkpoints: Checkpoints | None,
        beside: Mapping[str, Stateful],
    ) -> None:
        self.loop, self.result, self.peak, self.checkpoints, self.beside = loop, result, peak, checkpoints, beside
        self.begun = time.perf_counter(), time.process_time()
        self.before = 0.0, 0.0  # seconds and processor seconds up to the checkpoint that was taken up
        self._random: list[dict] = []
        self._kept: tuple = ()  # the moment of the last checkpoint
        self._hidden = hidden(loop.routed)
        self._parameters = _count(loop.routed)  # as it was built: ranks may fall

    @property
    def seconds(self) -> tuple[float, float]:
        """Seconds and processor seconds so far, those of interrupted beginnings included, as far as they count."""
        now = time.perf_counter(), time.process_time()
        return tuple(before + end - begin for before, end, begin in zip(self.before, now, self.begun, strict=True))

    def after_step(self, done: int, looked: bool) -> None:
        """Keep a checkpoint if one is due after `done` updates, in the middle of an epoch.

        Parameters
        ----------
        done : int
        looked : bool
            Whether the training looks about after this step; in between, only an interval in steps asks.
        """
        if self.checkpoints is None:
            return
        self._stop_if_asked()
        if looked or self.checkpoints.by_steps:
            self._keep_if(self.checkpoints.due(done, False))

    def after_epoch(self, done: int) -> None:
        """Keep a checkpoint if one is due after an epoch that ended with `done` updates."""
        if self.checkpoints is not None:
            self._stop_if_asked()
            self._keep_if(self.checkpoints.due(done, True))

    def _stop_if_asked(self) -> None:
        """End where the user asked for it, with a checkpoint; several processes end where they are."""
        if stopping.is_asked():
            self._keep_if(parallel.count() == 1 and self.checkpoints.every.unit != "never")
            raise KeyboardInterrupt

    def at_end(self) -> None:
        """Keep the training's end if it is worth it, so that what follows may fail without costing it."""
        if self.checkpoints is not None and self._kept != self._moment:
            self._keep_if(self.checkpoints.due_at_end())

    @property
    def _moment(self) -> tuple:
        loop, result = self.loop, self.result
        return loop.at, 0 if loop.under_way is None else loop.under_way.step, result.state, len(result.diagnostics)

    def _keep_if(self, is_due: bool) -> None:
        if is_due and self._holds_all():
            self.checkpoints.keep(self._state())
            self._kept = self._moment

    def _holds_all(self) -> bool:
        """Whether a checkpoint would hold all that the training depends on, as far as can be seen."""
        now = hidden(self.loop.routed)
        changed = [name for name in now if now[name] != self._hidden.get(name)]
        if changed:
            self.checkpoints.leave_out(
                f"'{changed[0]}' has changed, which no checkpoint holds: the run is kept without them; give it by "
                "get_extra_state, or as a buffer"
            )
        return not changed

    def _state(self) -> dict:
        loop, result, under = self.loop, self.result, self.loop.under_way
        seconds, cpu_seconds = self.seconds
        now = loop.generator.get_state()
        return {
            "parameters": self._parameters,
            "device": loop.device.type,
            "precision": loop.casting,
            "epoch": loop.at,
            "step": 0 if under is None else under.step,
            "result": result.state,
            "routed": dict(loop.routed.state_dict()),
            "optimisers": [optimiser.state_dict()["state"] for optimiser, _ in loop.optimisers],
            "average": None if loop.average is None else loop.average.state_dict(),
            "generator": {"begin": now if under is None else under.begin, "now": now},
            "random": parallel.gathered(_random_state(loop.device)),
            "sums": [] if under is None else parallel.gathered(under.sums.cpu()),
            "epoch_seconds": 0.0 if under is None else under.seconds,
            "history": result.history,
            "diagnostics": result.diagnostics,
            "seconds": seconds,
            "cpu_seconds": cpu_seconds,
            "resumed": result.resumed,
            "peak": {"kind": self.peak.kind, "bytes": self.peak.so_far()},
            "best": history.best(result.history),
            "beside": {name: one.state_dict() for name, one in self.beside.items()},
        }

    def take_up(self, spending: Spending) -> bool:
        """Go on from the newest checkpoint; return whether there is one.

        Parameters
        ----------
        spending : Spending
            Its account is made anew, by the ranks that the maps had.

        Raises
        ------
        InputError
            If it cannot be read, or is not of this training; the message names the file.
        """
        state = None if self.checkpoints is None else self.checkpoints.latest()
        if state is None:
            return False
        try:
            checks.whatever(lambda: self._take(state, spending))
        except checks.Unfit as unfit:
            raise self.checkpoints.refusal(f"holds {unfit}") from None
        return True

    def _take(self, state: dict, spending: Spending) -> None:
        loop, result = self.loop, self.result
        self._check_form(state)
        epochs = loop.settings.train.epochs
        loop.at = checks.whole(part(state, "epoch"), "epoch", 1, epochs + 1)
        step = checks.whole(part(state, "step"), "step", 0, loop.steps - 1 if loop.at <= epochs else 0)
        want(part(state, "result") in STATES, f"a run that is {state['result']!r:.40}")
        result.state, result.epochs = state["result"], loop.at - 1
        has_begun = step > 0 or result.state == "diverged"  # the epoch that it is in
        done = result.epochs * loop.steps + (loop.steps if result.state == "diverged" else step)
        checks.of_history(part(state, "history"), loop.at, loop.routed)
        checks.of_diagnostics(part(state, "diagnostics"), done, loop.routed)
        result.history |= state["history"]
        result.diagnostics |= state["diagnostics"]
        result.resumed = checks.whole(part(state, "resumed"), "number of times taken up") + 1
        self.before = tuple(checks.seconds(part(state, name), name) for name in ("seconds", "cpu_seconds"))
        self._take_peak(part(state, "peak"))
        self._let_begin(result.epochs + has_begun, spending)
        self._take_weights(state, done)
        self._take_draws(state, step)
        if parallel.place() == 0:
            self._take_beside(part(state, "beside"))
        self._kept = self._moment

    def _check_form(self, state: dict) -> None:
        loop = self.loop
        found, asked = part(state, "parameters"), self._parameters
        want(found == asked, f"a network of {found!r:.20} parameters, and this one has {asked}")
        for name, own in (("device", loop.device.type), ("precision", loop.casting)):
            want(part(state, name) == own, f"a training of {name} {state[name]!r:.20}, and this one's is '{own}'")

    def _take_peak(self, peak: object) -> None:
        want(type(peak) is dict and set(peak) == {"kind", "bytes"}, "no peak of memory")
        if peak["bytes"] is not None and peak["kind"] == self.peak.kind:
            self.peak.before = checks.whole(peak["bytes"], "peak of memory", 0, 2**60)

    def _let_begin(self, epochs: int, spending: Spending) -> None:
        """Let the rules begin so many epochs, for what of theirs is no tensor, and the account see those that ended."""
        for epoch in range(1, epochs + 1):
            self.loop.routed.start_epoch(epoch, [], cutting=False)
            if epoch in {1, self.result.epochs} and epoch <= self.result.epochs:
                spending.of_epoch()

    def _take_weights(self, state: dict, done: int) -> None:
        loop = self.loop
        ranks = _ranks(loop.routed)
        loop.routed.take_ranks(part(state, "routed"))
        checks.of_module(part(state, "routed"), loop.routed)
        loop.routed.load_state_dict(state["routed"])
        want(_ranks(loop.routed) == ranks, f"maps of ranks {_ranks(loop.routed)}, and they are {ranks} in this epoch")
        want(0 <= loop.routed.steps <= done, f"rules that have done {loop.routed.steps} of {done} steps")
        moments = part(state, "optimisers")
        want(type(moments) is list and len(moments) == len(loop.optimisers), "moments of other optimisers")
        for (optimiser, choice), own in zip(loop.optimisers, moments, strict=True):
            checks.of_optimiser(own, optimiser, _fresh(choice, loop.device))
            optimiser.load_state_dict({"state": own, "param_groups": optimiser.state_dict()["param_groups"]})
        average = part(state, "average")
        want((average is None) == (loop.average is None), "a moving average where there is none, or none")
        if average is not None:
            loop.average.load_state_dict(average)

    def _take_draws(self, state: dict, step: int) -> None:
        loop, generator = self.loop, part(state, "generator")
        want(type(generator) is dict and set(generator) == {"begin", "now"}, "no state of the data's draws")
        for moment in ("now", "begin"):  # each is tried, and the generator is left as it was when the epoch began
            loop.generator.set_state(generator[moment])
        if step:
            seconds = checks.seconds(part(state, "epoch_seconds"), "seconds of the epoch")
            loop.take_up(step, _own_sums(part(state, "sums")), generator["now"], seconds)
        self._random = part(state, "random")
        want(type(self._random) is list and all(type(one) is dict for one in self._random), "no random states")
        with torch.random.fork_rng([loop.device] if loop.device.type == "cuda" else []):
            self.restore_draws()  # tried: what cannot be is refused before the training begins

    def restore_draws(self) -> None:
        """Set torch's global random states as they were kept; a process that had none begins with its own seed."""
        if parallel.place() < len(self._random):
            own = self._random[parallel.place()]
            torch.set_rng_state(part(own, "cpu"))
            if self.loop.device.type == "cuda":
                torch.cuda.set_rng_state(part(own, "device"), self.loop.device)

    def _take_beside(self, beside: object) -> None:
        asked = sorted(self.beside)
        want(type(beside) is dict, "nothing beside the training")
        want(set(beside) == set(asked), f"{sorted(map(str, beside))} beside the training, and {asked} is asked")
        for name, one in self.beside.items():
            want(type(beside[name]) is dict, f"no state of '{name}'")
            one.load_state_dict(beside[name])


def _count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def _ranks(module: nn.Module) -> list[int]:
    return [one.rank for one in module.modules() if isinstance(one, LowRank)]


def _own_sums(found: object) -> torch.Tensor:
    """Return what this process has summed of the epoch; where there were more or fewer, the first takes all."""
    nothing = torch.zeros(3)
    want(type(found) is list and found and all(checks.is_like(one, nothing) for one in found), "no sums of the epoch")
    if len(found) == parallel.count():
        return found[parallel.place()]
    return nothing if parallel.place() else sum(found, nothing)


def _random_state(device: torch.device) -> dict:
    return {"cpu": torch.get_rng_state(), "device": torch.cuda.get_rng_state(device) if device.type == "cuda" else None}


def _fresh(choice: OptimiserSettings, device: torch.device) -> torch.optim.Optimizer:
    """Return an optimiser of the choice over one entry, after a step of nought."""
    one = nn.Parameter(torch.zeros(1, device=device))
    one.grad = torch.zeros_like(one)
    optimiser = make_optimiser(choice.name, [one], choice.learning_rate, choice.weight_decay, choice.options)
    optimiser.step()
    return optimiser
