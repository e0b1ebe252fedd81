"""Rank schedules: SSA's published values, and the checks by energy."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfmodel.errors import InputError
from rfmodel.factors import RankSchedule

FLAT = [1.0] * 100  # keeps 95 of 100


def ranks(schedule, epochs, full, spectrum=None, gradient=None, **told):
    """Return the rank after each number of epochs done."""
    rank, found = full, {}
    for done in range(1, epochs + 1):
        if schedule.is_due(done, epochs):
            rank = schedule.rank(done, epochs, full, rank, spectrum, gradient)
        found[done] = rank
    return found


def test_the_published_schedule_falls_by_a_twentieth_every_ten_epochs_to_seven_tenths():
    found = ranks(RankSchedule(), 200, 100, FLAT)
    assert [found[k] for k in (9, 10, 19, 20, 30, 40, 50, 59, 60, 69)] == [100, 95, 95, 90, 85, 80, 75, 75, 70, 70]


def test_then_the_energy_decides():
    assert ranks(RankSchedule(), 200, 100, FLAT)[70] == 70  # 95 of a flat spectrum: low enough already
    falling = [0.5**j for j in range(70)]
    # the sum of 4^-j up to r, of 4/3, reaches 95 % at 1 - 4^-r >= 0.95: r = 3
    found = ranks(RankSchedule(), 200, 100, falling)
    assert (found[69], found[70], found[199]) == (70, 3, 3)


def test_a_floor_between_two_steps_is_where_the_first_part_ends():
    found = ranks(RankSchedule(floor=0.72), 200, 100, FLAT)
    assert (found[50], found[60]) == (75, 72)
    # 20 epochs, every 10: half at the first check is below the floor already
    assert ranks(RankSchedule(), 20, 100, FLAT)[10] == 70


def test_epochs_alone_end_at_the_floor():
    found = ranks(RankSchedule(kind="epochs", floor=0.5), 200, 100)
    assert [found[k] for k in (10, 60, 70, 100, 110, 200)] == [95, 70, 65, 50, 50, 50]


def test_energy_alone_starts_with_the_first_check():
    found = ranks(RankSchedule(kind="energy", energy=0.9), 50, 100, FLAT)
    assert (found[9], found[10], found[40]) == (100, 90, 90)


def test_the_gradients_energy_by_direction_is_counted_in_any_order():
    schedule = RankSchedule(kind="gradient", energy=0.9)
    assert schedule.reads(10, 50) == "gradient"
    assert schedule.rank(10, 50, 8, 8, gradient=[0.0, 1.0, 0.05, 8.0, 0.0, 0.9, 0.05, 0.0]) == 2  # 9 of 10
    assert schedule.rank(10, 50, 8, 8, spectrum=[1.0] * 8, gradient=[1.0] * 8) == 8  # 7.2 of 8


def test_constant_never_changes():
    schedule = RankSchedule(kind="constant")
    assert not any(schedule.is_due(done, 200) for done in range(201))
    assert schedule.rank(10, 200, 100, 60) == 60 and schedule.reads(10, 200) is None


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(
    st.lists(st.floats(0, 10), min_size=1, max_size=30), st.floats(0.01, 1.0), st.sampled_from(["energy", "gradient"])
)
def test_the_energy_check_is_the_least_rank_that_holds_the_share(values, energy, kind):
    squares = [x * x for x in values] if kind == "energy" else values
    told = {"spectrum": values} if kind == "energy" else {"gradient": values}
    found = RankSchedule(kind=kind, energy=energy).rank(10, 20, 99, 99, **told)
    largest, total = sorted(squares, reverse=True), math.fsum(squares)

    def held(rank):
        return math.fsum(largest[:rank])

    assert 1 <= found <= len(values)
    assert held(found) >= energy * total * (1 - 1e-9)
    assert found == 1 or held(found - 1) < energy * total


def test_energies_that_are_equal_on_paper_are_equal():
    for n in range(1, 60):
        x = random.Random(n).uniform(0.1, 3)
        schedule = RankSchedule(kind="energy", energy=0.9)
        assert schedule.rank(10, 20, n, n, [x] * n) == math.ceil(round(0.9 * n, 9))
    assert RankSchedule(kind="energy", energy=1.0).rank(10, 20, 5, 5, [3.0, 0.1, 2.0, 0.0, 0.0]) == 3


def test_ranks_are_rounded_up_and_whole_on_paper_stays_whole():
    found = ranks(RankSchedule(kind="epochs", floor=0.3), 200, 7)
    assert [found[k] for k in (10, 20, 100)] == [7, 7, 4]  # 6.65, 6.3, 3.5
    for full in range(1, 200):
        found = ranks(RankSchedule(kind="epochs", floor=0.05), 20 * 10, full)
        for step in range(1, 20):
            assert found[10 * step] == -(-full * (20 - step) // 20)  # in whole numbers


@pytest.mark.parametrize("kind", ["hybrid", "epochs", "energy", "gradient"])
def test_a_rank_never_rises_and_never_reaches_zero(kind):
    schedule = RankSchedule(kind=kind, floor=0.01, every=1)
    rank, full = 20, 20
    generator = random.Random(0)
    for done in range(1, 30):
        energies = [generator.random() for _ in range(rank)]
        now = schedule.rank(done, 30, full, rank, energies, energies)
        assert 1 <= now <= rank
        rank = now
    assert schedule.rank(10, 30, 50, 3, [1.0] * 50, [1.0] * 50) <= 3
    assert schedule.rank(29, 30, 20, 4, [0.0] * 4, [0.0] * 4) == 1  # nothing holds nothing


def test_checks_come_every_so_many_epochs_after_the_start_and_not_after_the_last():
    def due(**options):
        return [done for done in range(61) if RankSchedule(**options).is_due(done, 60)]

    assert due() == [10, 20, 30, 40, 50]
    assert due(start=20) == [20, 30, 40, 50]
    assert due(start=25) == [30, 40, 50]
    assert due(every=25) == [25, 50]
    assert due(every=0.25) == [15, 30, 45] and due(start=0.5, every=0.25) == [30, 45]
    assert due(every=0.001) == list(range(1, 60))  # at least one epoch
    assert RankSchedule(kind="energy").is_due(60, None)


def test_a_late_start_takes_the_rank_of_that_epoch():
    found = ranks(RankSchedule(start=20), 200, 100, FLAT)
    assert [found[k] for k in (10, 19, 20, 30)] == [100, 100, 90, 85]


def test_a_fraction_shortens_the_published_schedule_alike():
    short = ranks(RankSchedule(every=0.05), 20, 100, FLAT)
    assert [short[k] for k in range(1, 9)] == [95, 90, 85, 80, 75, 70, 70, 70]


def test_only_the_second_part_reads_a_spectrum():
    schedule = RankSchedule()
    assert [schedule.reads(k, 200) for k in (10, 60, 70)] == [None, None, "spectrum"]
    assert RankSchedule(floor=0.1).reads(180, 200) is None  # 1 - 180 / 200 < 0.1 in floating point
    assert (
        RankSchedule(kind="epochs").reads(190, 200) is None and RankSchedule(kind="energy").reads(10, 200) == "spectrum"
    )


def acting(epochs=200, **options):
    schedule = RankSchedule(**options)
    return [epoch for epoch in range(1, epochs + 1) if schedule.hoyer_acts(epoch, epochs)]


def test_hoyer_acts_in_the_epoch_before_each_check():
    schedule = RankSchedule(start=20)
    assert acting() == list(range(10, 200, 10))
    assert acting(start=20) == [done for done in range(201) if schedule.is_due(done, 200)]
    assert acting(kind="constant") == acting()


def test_hoyer_acts_up_to_the_end_of_the_first_part():
    assert acting(hoyer="reduction") == list(range(1, 61))  # 30 % of the epochs
    assert acting(hoyer="reduction", start=20) == list(range(11, 61))
    assert acting(hoyer="reduction", kind="energy") == acting(hoyer="reduction", kind="constant") == []


def test_hoyer_acts_always_or_never():
    assert acting(5, hoyer="always", kind="constant") == [1, 2, 3, 4, 5] and acting(5, hoyer="never", every=1) == []


REFUSED = {
    "kind": ({"kind": "hybird"}, "kind of rank schedule 'hybird' is unknown: .*did you mean 'hybrid'"),
    "hoyer": ({"hoyer": "sometimes"}, "option hoyer of a rank schedule: 'sometimes' is unknown: known are always"),
    "floor 0": ({"floor": 0}, "floor 0 of a rank schedule would let the rank reach zero or rise; use a share above 0"),
    "floor below 0": ({"floor": -0.1}, "floor -0.1 of a rank schedule would let the rank reach zero"),
    "floor above 1": ({"floor": 1.5}, "floor 1.5 of a rank schedule would let the rank reach zero or rise"),
    "floor nan": ({"floor": math.nan}, "floor nan of a rank schedule"),
    "floor text": ({"floor": "0.7"}, "floor '0.7' of a rank schedule"),
    "energy 0": ({"energy": 0.0}, "energy 0.0 of a rank schedule is impossible; use a share above 0 and up to 1"),
    "energy in per cent": ({"energy": 95}, "energy 95 of a rank schedule is impossible"),
    "energy true": ({"energy": True}, "energy True of a rank schedule is impossible"),
    "energy nan": ({"energy": math.nan}, "energy nan of a rank schedule is impossible"),
    "every 0": (
        {"every": 0},
        "every 0 of a rank schedule is impossible; use whole epochs from 1, or a fraction of all",
    ),
    "every below 0": ({"every": -0.5}, "every -0.5 of a rank schedule is impossible"),
    "every no whole": ({"every": 10.5}, "every 10.5 of a rank schedule is impossible"),
    "every none": ({"every": None}, "every None of a rank schedule is impossible"),
    "start": (
        {"start": -1},
        "start -1 of a rank schedule is impossible; use whole epochs from 0, or a fraction of all",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_impossible_settings_are_refused(name):
    options, message = REFUSED[name]
    with pytest.raises(InputError, match=message) as caught:
        RankSchedule(**options)
    assert "\n" not in str(caught.value)


def test_shares_of_all_epochs_need_their_number():
    for options in (
        {},
        {"kind": "epochs"},
        {"kind": "energy", "every": 0.1},
        {"kind": "gradient", "start": 0.5},
        {"kind": "constant", "every": 0.1},  # by which the Hoyer penalty acts
        {"kind": "constant", "start": 0.5},
    ):
        kind = options.get("kind", "hybrid")
        with pytest.raises(
            InputError, match=f"kind '{kind}' counts in shares of all epochs, .* give the number of epochs"
        ):
            RankSchedule(**options).check(None, 8)
        RankSchedule(**options).check(10, 8)
    for kind in ("energy", "gradient", "constant"):
        RankSchedule(kind=kind).check(None, 8)
    for hoyer in ("reduction", "always", "never"):  # no share of epochs is ever taken
        schedule = RankSchedule(kind="constant", every=0.1, start=0.5, hoyer=hoyer)
        schedule.check(None, 8)
        assert schedule.hoyer_acts(1, None) == (hoyer == "always") and not schedule.is_due(1, None)


def test_there_must_be_a_rank_to_fall_from():
    with pytest.raises(InputError, match="rank 0 leaves a rank schedule nothing to fall from; start from rank 1"):
        RankSchedule().check(10, 0)


def test_energies_must_be_given_and_finite():
    with pytest.raises(InputError, match="kind 'hybrid' reads the spectrum after epoch 70; give it"):
        RankSchedule().rank(70, 200, 100, 70)
    with pytest.raises(InputError, match="kind 'gradient' reads the gradient after epoch 10; give it"):
        RankSchedule(kind="gradient").rank(10, 200, 100, 70, spectrum=[1.0])
    with pytest.raises(InputError, match="energies of a rank schedule are not finite, so that training has diverged"):
        RankSchedule(kind="energy").rank(10, 200, 100, 70, spectrum=[1.0, math.nan])
