"""Claims: of several that want a run exactly one has it, the dead hold nothing for long, and nobody waits for ever."""

from __future__ import annotations

import errno
import json
import os
import platform
import random
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rfmodel.errors import InputError
from rfmodel.store import alive, claims, holders
from rfmodel.store.claims import Claims
from rfmodel.store.paths import claim_path
from rfmodel.store.writing import Unwritable

NAME = "bp_seed0_0123456789ab"
NAMES = [f"bp_seed{i}_0123456789ab" for i in range(30)]
LONG = 1e6  # no beat within a test
HAS_PROC = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="when a process started is told by /proc")

HOLD = """
import sys, pathlib
from rfmodel.store.claims import Claims
claims = Claims(pathlib.Path(sys.argv[1]), float(sys.argv[2]))
held = [claims.take(name) for name in sys.argv[3:]]
print(all(held), flush=True)
for line in sys.stdin:
    print(eval(line), flush=True)
"""
CONTEND = """
import sys, pathlib, random
from rfmodel.store.claims import Claims
with Claims(pathlib.Path(sys.argv[1])) as claims:
    names = sys.argv[2:]
    print("ready", flush=True)
    sys.stdin.readline()
    random.shuffle(names)
    taken = [claims.take(name) for name in names]
    print(" ".join(f"{claim.name}:{claim.generation}:{claim.held()}" for claim in taken if claim), flush=True)
    sys.stdin.readline()
"""
ALONE = """
import os, pathlib, random, sys, time
from rfmodel.store import alive
from rfmodel.store.claims import Claims
folder, name, seed = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
random.seed(seed)
claims, inside, wins, until = Claims(folder), folder / "inside", 0, time.monotonic() + 60
while wins < 25 and time.monotonic() < until:
    claim = claims.take(name)
    if claim is None:
        continue
    wins += 1
    me = alive.this_process()
    try:
        file = os.open(inside, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
    except FileExistsError:
        pid, start = map(int, inside.read_text().split())
        if alive.Process(me.machine, pid, start).lives():
            sys.exit(f"two at once: {pid} and {me.pid}")
        file = os.open(inside, os.O_TRUNC | os.O_WRONLY)
    os.write(file, f"{me.pid} {me.start}".encode())
    os.close(file)
    time.sleep(random.random() * 0.003)
    if wins == 25 and seed % 2:
        os.kill(me.pid, 9)
    inside.unlink()
    claim.release()
sys.exit(0 if wins == 25 else "never had it")
"""


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "runs").mkdir()
    return tmp_path


@pytest.fixture
def clock():
    return Clock()


def files(folder):
    return sorted(p.name for p in (folder / "runs").iterdir())


def program(text, *args):
    command = [sys.executable, "-B", "-c", text, *map(str, args)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def holding(folder, lease, *names):
    """A process that holds runs; asked by a line, it answers by one."""
    with program(HOLD, folder, lease, *names) as other:
        try:
            assert other.stdout.readline() == "True\n"
            yield other
        finally:
            other.kill()


def ask(other, question):
    other.stdin.write(f"{question}\n")
    other.stdin.flush()
    return eval(other.stdout.readline())


def wait_for(condition):
    until = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < until, "waited for in vain"
        time.sleep(0.005)


def elsewhere(monkeypatch, folder, name=NAME):
    """The claim of a process of another machine."""
    with monkeypatch.context() as patched:
        patched.setattr(alive, "machine", lambda: "0123456789ab")
        return Claims(folder, LONG).take(name)


def contend(folder, names, processes=5):
    with ExitStack() as stack:
        others = [stack.enter_context(program(CONTEND, folder, *names)) for _ in range(processes)]
        for step in ("ready", "taken"):
            lines = [other.stdout.readline() for other in others]
            for other in others:
                other.stdin.write("go\n")
                other.stdin.flush()
            if step == "ready":
                assert lines == ["ready\n"] * processes
        assert [other.wait(60) for other in others] == [0] * processes
    return [word for line in lines for word in line.split()]


@pytest.mark.parametrize("times", range(2))
def test_of_several_processes_that_want_a_run_exactly_one_gets_it(times, folder):
    assert sorted(contend(folder, NAMES)) == sorted(f"{name}:1:True" for name in NAMES)
    assert not files(folder)


@pytest.mark.parametrize("times", range(2))
def test_of_several_that_find_a_dead_claim_exactly_one_takes_it_over(times, folder):
    with holding(folder, LONG, *NAMES) as other:
        other.kill()
        other.wait()
    assert len(files(folder)) == len(NAMES)
    assert sorted(contend(folder, NAMES)) == sorted(f"{name}:2:True" for name in NAMES)
    assert not files(folder)


def test_processes_that_come_go_and_die_are_never_two_at_once_and_all_have_their_turn(folder):
    with ExitStack() as stack:
        others = [stack.enter_context(program(ALONE, folder, NAME, seed)) for seed in range(4)]
        ends = [(other.communicate(timeout=120)[1], other.returncode) for other in others]
    assert ends == [("", -9 if seed % 2 else 0) for seed in range(4)]


@pytest.mark.slow
def test_many_more_contests_have_one_winner_each(folder):
    for _ in range(25):
        names = random.sample(NAMES, 20)
        assert sorted(word.split(":")[0] for word in contend(folder, names, 8)) == sorted(names)
        with holding(folder, LONG, *names) as other:
            other.kill()
        assert sorted(contend(folder, names, 8)) == sorted(f"{name}:2:True" for name in names)
        assert not files(folder)


def test_a_run_that_is_held_is_not_given_again_and_is_free_once_released(folder):
    with Claims(folder) as ours, Claims(folder) as others:
        claim = ours.take(NAME)
        assert (claim.name, claim.generation, claim.held()) == (NAME, 1, True)
        assert ours.take(NAME) is None and others.take(NAME) is None
        assert others.take(NAMES[1]).held()
        claim.release()
        assert files(folder) == [f"{NAMES[1]}.claim1"] and not claim.held()
        claim.release()  # twice does nothing more
        assert others.take(NAME).generation == 1
    assert not files(folder)


@HAS_PROC
def test_a_killed_holder_of_this_machine_loses_at_once_buried_or_not(folder, clock):
    with holding(folder, LONG, NAME) as other:
        assert Claims(folder, clock=clock).take(NAME) is None
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)
        claim = Claims(folder, clock=clock).take(NAME)
        assert claim.generation == 2 and files(folder) == [f"{NAME}.claim2"]
        claim.release()
    assert not files(folder)


@HAS_PROC
def test_a_process_that_was_given_a_dead_holders_number_holds_nothing(folder, monkeypatch):
    me = alive.this_process()
    with monkeypatch.context() as patched:
        patched.setattr(holders, "this_process", lambda: alive.Process(me.machine, me.pid, me.start - 1))
        assert Claims(folder, LONG).take(NAME)
    assert Claims(folder, LONG).holder(NAME).alive is False
    assert Claims(folder, LONG).take(NAME).generation == 2


def test_another_machines_holder_is_gone_only_after_a_lease_without_a_beat(folder, clock, monkeypatch):
    theirs = elsewhere(monkeypatch, folder)
    ours = Claims(folder, 60, clock=clock)
    assert ours.take(NAME) is None  # the first look tells nothing
    clock.now = 59.9
    assert ours.take(NAME) is None
    theirs.beat()
    for clock.now in (100, 159.9):
        assert ours.take(NAME) is None
    assert Claims(folder, 60, clock=clock).take(NAME) is None  # who looks for the first time waits a lease too
    clock.now = 160
    claim = ours.take(NAME)
    assert claim.generation == 2 and claim.held() and not theirs.held()
    with pytest.raises(FileNotFoundError):
        theirs.beat()
    theirs.release()
    assert files(folder) == [f"{NAME}.claim2"] and claim.held()


def test_clocks_of_other_machines_and_times_of_files_count_for_nothing(folder, clock, monkeypatch):
    elsewhere(monkeypatch, folder)
    ours = Claims(folder, 60, clock=clock)
    for stamp in (0, 2**33):
        os.utime(claim_path(folder, NAME, 1), (stamp, stamp))
        assert ours.take(NAME) is None
    clock.now = 60
    assert ours.take(NAME).generation == 2


@HAS_PROC
def test_a_suspended_holder_loses_and_knows_it_when_it_wakes(folder, clock):
    with holding(folder, 0.1, NAME) as other:
        ours = Claims(folder, 60, clock=clock)
        for clock.now in (0, 1000, 2000):  # it beats: however long one waits
            seen = claim_path(folder, NAME, 1).read_bytes()
            assert ours.take(NAME) is None
            wait_for(lambda seen=seen: claim_path(folder, NAME, 1).read_bytes() != seen)
        os.kill(other.pid, signal.SIGSTOP)
        wait_for(lambda: alive._state(other.pid)[0] == "T")
        assert ours.take(NAME) is None
        clock.now += 60
        claim = ours.take(NAME)
        os.kill(other.pid, signal.SIGCONT)
        assert claim.generation == 2
        assert ask(other, "held[0].held()") is False
        assert ask(other, "claims.take(held[0].name)") is None
        assert ask(other, "claims.close()") is None
        assert claim.held() and files(folder) == [f"{NAME}.claim2"]
        claim.release()


@settings(max_examples=40, deadline=None)
@given(st.one_of(st.binary(max_size=1100), st.integers(0, holders.LENGTH)))
def test_a_torn_claim_file_is_a_beat_that_does_not_change(tmp_path_factory, content):
    folder, clock = tmp_path_factory.mktemp("torn"), Clock()
    (folder / "runs").mkdir()
    if isinstance(content, int):  # cut off
        content = holders.Mark().content(0)[:content]
        content = content if content[-1:] != b"\n" and not content.rstrip().endswith(b"}") else b""
    claim_path(folder, NAME, 7).write_bytes(content)
    ours = Claims(folder, 60, clock=clock)
    assert ours.holder(NAME) == holders.Holder("", 0, "", None)
    assert ours.take(NAME) is None
    clock.now = 59
    assert ours.take(NAME) is None
    clock.now = 60
    claim = ours.take(NAME)
    assert claim.generation == 8 and files(folder) == [f"{NAME}.claim8"]
    ours.close()


@settings(max_examples=40, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from(["claim", "host", "machine", "pid", "start", "since", "beat"]),
        st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=9), st.just([]), st.just({})),
    )
)
def test_whatever_a_claim_file_says_a_run_can_be_listed_and_comes_free(tmp_path_factory, row):
    folder, clock = tmp_path_factory.mktemp("said"), Clock()
    (folder / "runs").mkdir()
    claim_path(folder, NAME, 1).write_bytes(json.dumps({**json.loads(holders.Mark().content(0)), **row}).encode())
    ours = Claims(folder, 60, clock=clock)
    assert ours.holder(NAME).host.isprintable() and len(ours.holder(NAME).host) <= 64
    ours.take(NAME)
    clock.now = 60
    ours.take(NAME)
    assert files(folder) == [f"{NAME}.claim2"]
    ours.close()


def test_a_beat_changes_the_file_in_its_place_and_not_its_length(folder):
    claim = Claims(folder, LONG).take(NAME)
    path = claim_path(folder, NAME, 1)
    seen, before = {path.read_bytes()}, path.stat()
    for _ in range(150):
        claim.beat()
        seen.add(path.read_bytes())
    assert len(seen) == 151 and {len(content) for content in seen} == {holders.LENGTH}
    assert path.stat().st_ino == before.st_ino and files(folder) == [path.name]


def test_a_beat_neither_brings_back_a_removed_file_nor_touches_another_claims(folder, monkeypatch):
    claim, path = Claims(folder, LONG).take(NAME), claim_path(folder, NAME, 1)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        claim.beat()
    assert not files(folder) and not claim.held()
    theirs = elsewhere(monkeypatch, folder)
    before = path.read_bytes()
    claim.beat()
    claim.release()
    claim.beat()
    assert path.read_bytes() == before and theirs.held() and not claim.held()


def test_beats_go_on_after_one_that_failed(folder, monkeypatch):
    count, beat = [], claims.Claim.beat

    def failing(claim):
        count.append(claim)
        if len(count) < 3:
            raise OSError(errno.EIO, "")
        beat(claim)

    monkeypatch.setattr(claims.Claim, "beat", failing)
    with Claims(folder, 0.04) as ours:
        ours.take(NAME)
        before = claim_path(folder, NAME, 1).read_bytes()
        wait_for(lambda: claim_path(folder, NAME, 1).read_bytes() != before)
        assert len(count) >= 3


def test_one_thread_beats_for_all_claims_and_ends_with_them(folder):
    def beating():
        return [thread for thread in threading.enumerate() if thread.name == "claims" and thread not in before]

    before = threading.enumerate()
    with pytest.raises(ZeroDivisionError), Claims(folder, LONG) as ours:
        assert not beating()  # to look is not to claim
        for name in NAMES[:5]:
            ours.take(name)
        assert len(beating()) == 1 and beating()[0].daemon
        raise ZeroDivisionError
    assert not beating() and not files(folder)
    assert ours.take(NAME).held() and len(beating()) == 1  # it can begin again
    ours.close()
    assert not beating() and not files(folder)


def test_a_forked_process_neither_beats_nor_releases_what_its_parent_holds(folder):
    text = (
        "import os, pathlib, sys; from rfmodel.store.claims import Claims\n"
        "claims = Claims(pathlib.Path(sys.argv[1]), 0.1); claim = claims.take(sys.argv[2])\n"
        "pid = os.fork()\n"
        "if pid == 0:\n"
        "    claim.release(); claims.close(); assert claims.take(sys.argv[2]) is None\n"
        "    own = claims.take(sys.argv[3]); assert own.held(); claims.close(); os._exit(7)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7\n"
        "assert claim.held(); print(sorted(os.listdir(sys.argv[1] + '/runs'))); claims.close()\n"
    )
    with program(text, folder, NAME, NAMES[1]) as other:
        out, told = other.communicate(timeout=60)
    assert (out, told) == (f"['{NAME}.claim1']\n", "")
    assert not files(folder)


@pytest.mark.parametrize("step", ["open", "fsync"])
@pytest.mark.parametrize(
    ("code", "words"), [(errno.ENOSPC, "the disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")]
)
def test_a_claim_that_cannot_be_written_names_its_path_and_leaves_no_file(step, code, words, folder, monkeypatch):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patched:
        patched.setattr(os, step, fail)
        with pytest.raises(
            Unwritable, match=rf"{re.escape(str(folder))}/runs/{NAME}.claim1' cannot be written: .*{words}"
        ):
            Claims(folder).take(NAME)
    assert not files(folder)
    with Claims(folder) as ours:
        assert ours.take(NAME)


def test_a_folder_without_runs_or_permission_is_named(tmp_path):
    with pytest.raises(Unwritable, match=f"{NAME}.claim1' cannot be written: its folder is not there"):
        Claims(tmp_path).take(NAME)
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere; the same error is injected above")
    (tmp_path / "runs").mkdir(mode=0o500)
    with pytest.raises(Unwritable, match="permission is denied"):
        Claims(tmp_path).take(NAME)


def test_a_claim_that_cannot_be_removed_ends_without_an_error(folder, monkeypatch):
    claim = Claims(folder, LONG).take(NAME)

    def fail(*_, **__):
        raise OSError(errno.EROFS, "")

    with monkeypatch.context() as patched:
        patched.setattr(type(folder), "unlink", fail)
        claim.release()
    assert files(folder) == [f"{NAME}.claim1"]


def test_who_judged_a_claim_dead_that_has_had_another_life_since_does_not_take_it(folder, monkeypatch):
    with holding(folder, LONG, NAME) as other:
        other.kill()
    judge, living = Claims._gone, []

    def slowly(self, *seen):
        judged = judge(self, *seen)
        if not living:  # meanwhile the run is taken over, released, and claimed anew
            living.append(None)
            Claims(folder, LONG).take(NAME).release()
            living[0] = Claims(folder, LONG).take(NAME)
        return judged

    monkeypatch.setattr(Claims, "_gone", slowly)
    assert Claims(folder, LONG).take(NAME) is None
    assert living[0].held() and files(folder) == [f"{NAME}.claim1"]


def test_who_did_not_see_a_higher_claim_steps_back(folder, monkeypatch):
    with holding(folder, LONG, NAME) as other:
        other.kill()
    higher, look = Claims(folder, LONG).take(NAME), claims.generations
    looks = []

    def late(*where):
        looks.append(where)
        return {} if len(looks) == 1 else look(*where)

    monkeypatch.setattr(claims, "generations", late)
    assert Claims(folder, LONG).take(NAME) is None
    assert higher.held() and files(folder) == [f"{NAME}.claim2"]


def test_a_claim_that_the_last_holder_cleared_away_with_its_own_does_not_count(folder, monkeypatch):
    look, looks = claims.generations, []

    def late(*where):
        looks.append(where)
        if len(looks) == 2:  # just after the file was made
            claim_path(folder, NAME, 1).unlink()
        return look(*where)

    monkeypatch.setattr(claims, "generations", late)
    claim = Claims(folder, LONG).take(NAME)
    assert claim.held() and len(looks) > 3 and files(folder) == [f"{NAME}.claim1"]


def test_a_claim_below_that_nobody_judged_stands_and_the_higher_one_is_taken_back(folder, monkeypatch):
    lower, look, looks = Claims(folder, LONG).take(NAME), claims.generations, []
    dead = holders.Mark().content(0)

    def late(*where):
        looks.append(where)
        return {1: dead} if len(looks) == 1 else look(*where)

    monkeypatch.setattr(claims, "generations", late)
    monkeypatch.setattr(Claims, "_gone", lambda self, name, generation, content: content == dead)
    assert Claims(folder, LONG).take(NAME) is None
    assert lower.held() and files(folder) == [f"{NAME}.claim1"]


def test_the_list_of_holders_says_who_and_whether_they_live(folder, monkeypatch):
    ours = Claims(folder, LONG)
    assert ours.holder(NAME) is None and holders.holders(folder) == {} == holders.holders(folder / "nowhere")
    ours.take(NAMES[1])
    elsewhere(monkeypatch, folder, NAMES[2])
    with holding(folder, LONG, NAMES[3]) as other:
        other.kill()
    for strange in ("x.claim1", f"{NAME}.claim", f"{NAME}.claimx", f"{NAME}.claim1.bak", f".{NAME}.claim1"):
        (folder / "runs" / strange).write_text("")
    found = holders.holders(folder)
    assert {name: (holder.pid, holder.alive) for name, holder in found.items()} == {
        NAMES[1]: (os.getpid(), True),
        NAMES[2]: (os.getpid(), None),
        NAMES[3]: (other.pid, False),
    }
    assert found[NAMES[1]].host == platform.node()[:64] and "T" in found[NAMES[1]].since
    assert ours.holder(NAMES[3]) == found[NAMES[3]] and ours.holder(NAME) is None
    ours.close()


@pytest.mark.parametrize("lease", [0, -1, float("nan"), float("inf")])
def test_a_lease_that_is_none_is_refused(lease, folder):
    with pytest.raises(InputError, match=rf"a lease of {re.escape(str(lease))} seconds is none; a positive number"):
        Claims(folder, lease)


def test_a_name_that_leads_out_of_the_folder_is_refused(folder):
    with pytest.raises(InputError, match="'../x' is no run's name"):
        Claims(folder).take("../x")
