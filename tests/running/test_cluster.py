"""A cluster: files or the wire, workers that die and join, and a cluster that is left as it was."""

from __future__ import annotations

import concurrent.futures
import gc
import importlib.util
import os
import random
import re
import signal
import threading
import time
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from studies import TINY

from rfmodel import protocols, store
from rfmodel.checkpoints import interval
from rfmodel.errors import InputError
from rfmodel.running import cluster, cluster_handing, cluster_task
from rfmodel.running.cluster_crew import Crew
from rfmodel.running.cluster_handing import Handing
from rfmodel.running.cluster_results import keep_results
from rfmodel.running.one import Context, complete
from rfmodel.running.wire import packed
from rfmodel.store.claims import Claims
from rfmodel.store.failures import failures
from rfmodel.store.writing import Unwritable

if importlib.util.find_spec("distributed") is None:
    pytest.skip("distributed is not installed (extra cluster)", allow_module_level=True)

import dask
import distributed
from distributed import Client, KilledWorker, LocalCluster

TIMES = {"seconds", "cpu_seconds", "images_per_second", "peak_memory"}
SHORT = ["train.epochs=1"]
WAIT = 60.0  # seconds that nothing here takes


@contextmanager
def local(**options):
    """A cluster of worker processes of this machine."""
    chosen = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": "127.0.0.1:0"} | options
    with LocalCluster(**chosen) as found:
        yield found


@pytest.fixture(scope="module")
def two():
    """Two workers within this process, which need not load torch again."""
    with local(n_workers=2, processes=False) as found:
        yield found


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("protocol") / "tiny.toml"
    path.write_text(TINY)
    return path


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Seen:
    """What the display was told, and something to do when it is."""

    def __init__(self, **reactions):
        self.rows, self.reactions = [], reactions
        self.callbacks = {what: self._note(what) for what in ("told", "started", "progress", "ended")}

    def _note(self, what):
        def note(*rest):
            assert threading.current_thread() is threading.main_thread()
            self.rows.append((what, *rest))
            if what in self.reactions:
                self.reactions[what](*rest)

        return note

    def lines(self):
        return [row[1] for row in self.rows if row[0] == "told"]


def handed(runs, folder, address, seen=None, **options):
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    asked = {"data_folder": None, "device": "cpu", "threads": 1, "every": "1 epochs", "lease": 60.0} | options
    return cluster.run_on_cluster(runs, folder, address=address, **asked, **(seen or Seen()).callbacks)


def alone(runs, folder):
    """The same runs one after another in this process."""
    (folder / "runs").mkdir(parents=True)
    context = Context(folder, None, "cpu", interval("never"))
    with Claims(folder) as claims:
        return [complete(run, context, claims) for run in runs]


def assert_same(found, expected, runs):
    for run in runs:
        one, other = (store.load(store.run_path(folder, run.name)) for folder in (found, expected))
        kept = [name for name in other.variables if name not in TIMES]
        assert set(kept) <= set(one.variables)
        for name in kept:
            assert one[name].identical(other[name]) or one[name].equals(other[name]), name
        weights = (store.weights_path(folder, run.name).read_bytes() for folder in (found, expected))
        assert len(set(weights)) == 1


def files(folder):
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def wanted(runs):
    return sorted(f"{run.name}.{suffix}" for run in runs for suffix in ("nc", "pt"))


@pytest.fixture(scope="module")
def reference(tiny, tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("reference") / "study"
    runs = protocols.load(tiny, only=["seed=0"]).runs
    alone(runs, folder)
    return folder, runs


@pytest.mark.parametrize("way", ["files", "wire"])
def test_a_study_on_a_cluster_is_the_sequential_one(two, reference, tmp_path, monkeypatch, way):
    folder, runs = reference
    if way == "wire":
        monkeypatch.setattr(cluster, "_token", lambda _: unseen())
    seen = Seen()
    outcomes = handed(runs, tmp_path, two.scheduler_address, seen)
    assert [(outcome.state, outcome.error) for outcome in outcomes] == [("done", "")] * len(runs)
    assert files(tmp_path) == wanted(runs)  # no claim, no token, nothing half written
    assert_same(tmp_path, folder, runs)
    assert {row[1].name for row in seen.rows if row[0] == "started"} == {run.name for run in runs}
    assert [row[1].run.name for row in seen.rows if row[0] == "ended"] == [o.run.name for o in outcomes]


@contextmanager
def unseen():
    yield "no such file"


def test_a_run_that_is_finished_meanwhile_is_kept(two, reference, tmp_path):
    folder, runs = reference
    outcomes = handed(runs[:1], folder, two.scheduler_address)
    assert [(outcome.state, outcome.kept) for outcome in outcomes] == [("done", True)]


def processes(address):
    """The workers' processes by address, and whether each has a run."""
    with Client(address, set_as_default=False) as client:
        busy = {worker for worker, keys in client.processing().items() if keys}
        return {pid: worker in busy for worker, pid in client.run(os.getpid, on_error="ignore").items()}


def test_a_run_whose_worker_is_killed_is_taken_up_by_another(tiny, tmp_path):
    runs = protocols.load(tiny, ["train.epochs=30"], ["rule=ldfa", "seed=0"]).runs
    killed = []

    def kill(run, epoch, step, loss):
        if not killed:
            until(store.checkpoint_path(tmp_path / "study", run.name).is_file)
            killed.extend(pid for pid, busy in processes(here.scheduler_address).items() if busy)
            os.kill(killed[0], signal.SIGKILL)

    seen = Seen(progress=kill)
    with local(n_workers=2) as here:
        outcomes = handed(runs, tmp_path / "study", here.scheduler_address, seen, lease=2.0)
    assert len(killed) == 1
    assert len([row for row in seen.rows if row[0] == "started"]) == 2
    assert [(outcome.state, outcome.error) for outcome in outcomes] == [("done", "")]
    store.tidy(tmp_path / "study")  # as a study ends: what was killed while it wrote
    assert files(tmp_path / "study") == wanted(runs)
    alone(runs, tmp_path / "alone")
    assert_same(tmp_path / "study", tmp_path / "alone", runs)


@pytest.mark.slow
def test_a_study_whose_workers_are_killed_again_and_again_is_the_sequential_one(tiny, tmp_path):
    runs = protocols.load(tiny, ["train.epochs=60", "axes.seed=[0, 1, 2, 3]"]).runs
    ended, drawn = threading.Event(), random.Random(0)

    def kill():
        while len(killed) < 6 and not ended.wait(drawn.uniform(3, 9)):
            if pids := [pid for pid, busy in processes(here.scheduler_address).items() if busy]:
                os.kill(drawn.choice(pids), signal.SIGKILL)
                killed.append(1)

    killed = []
    # A cluster of this machine gives up a worker that is not back in time, as a batch system would not.
    with dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"}), local(n_workers=2) as here:
        killer = threading.Thread(target=kill)
        killer.start()
        try:
            outcomes = handed(runs, tmp_path / "study", here.scheduler_address, lease=2.0)
        finally:
            ended.set()
            killer.join()
    assert len(killed) > 1
    assert [(outcome.state, outcome.error) for outcome in outcomes] == [("done", "")] * 12
    store.tidy(tmp_path / "study")  # as a study ends: what was killed while it wrote
    assert files(tmp_path / "study") == wanted(runs)
    alone(runs, tmp_path / "alone")
    assert_same(tmp_path / "study", tmp_path / "alone", runs)


def test_a_worker_may_join_late(tiny, tmp_path):
    runs = protocols.load(tiny, SHORT, ["rule=ldfa", "seed=0"]).runs
    with local(processes=False, n_workers=0) as here:
        seen = Seen(told=lambda line: here.scale(1) if "no worker" in line else None)
        outcomes = handed(runs, tmp_path, here.scheduler_address, seen)
    assert [outcome.state for outcome in outcomes] == ["done"]
    assert [line for line in seen.lines() if "waiting for one to join" in line]


DEADLY = """
import os
def die(*_, **__):
    os._exit(9)
"""


@pytest.mark.slow
def test_a_run_that_kills_its_workers_is_recorded_as_failed_after_ten(tiny, tmp_path):
    (tmp_path / "deadly.py").write_text(DEADLY)
    (tmp_path / "p.toml").write_text(TINY.replace('name = "ldfa", q = "hebbian"', 'name = "deadly.py:die"'))
    runs = protocols.load(tmp_path / "p.toml", SHORT, ["condition=LDFA*", "seed=0"], allow_code=True).runs
    with local() as here:
        seen = Seen()
        (outcome,) = handed(runs, tmp_path / "study", here.scheduler_address, seen, lease=1.0)
    assert_recorded_as_lost(outcome, seen, runs[0], tmp_path / "study")


def assert_recorded_as_lost(outcome, seen, run, folder):
    assert outcome.state == "failed"
    assert outcome.error.startswith("10 workers in a row died over it, and it came no further; the last was ")
    assert len([line for line in seen.lines() if "died; it is handed out again" in line]) == 9
    assert failures(folder)[run.name].error == outcome.error
    assert files(folder) == [f"{run.name}.failed.json"]


@pytest.fixture
def told_by(tiny, tmp_path, monkeypatch):
    """Hand one run to a client whose tasks come to what they are told, one reply a task."""
    run = protocols.load(tiny, SHORT, ["rule=ldfa", "seed=0"]).runs[0]
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(cluster_handing, "LOOK", 0.01)

    def told(*replies, **reactions):
        client, seen = Fake(replies, w1=answer()), Seen(**reactions)
        crew = Crew(client, "tcp://a:1", seen.callbacks["told"], None)
        with Claims(tmp_path) as claims:
            order = {"topic": "t", "lease": 60.0}
            (outcome,) = Handing(client, crew, claims, tmp_path, order, seen.callbacks, True).all([run], {})
        return outcome, client, seen

    return told


KILLED = KilledWorker("key", SimpleNamespace(address="tcp://w1"), 3)
GONE = "the worker is gone, and dask waits for it"
DONE = {
    "kind": "outcome", "state": "done", "accuracy": 0.5, "seconds": 1.0, "kept": False, "error": "", "blamed": False,
    "worker": "w1",
}  # fmt: skip


def dies(*events, by=KILLED):
    return {"events": events, "end": by}


BEGUN, STEP = ("begun",), ("progress", 1, 5, 0.1)


@pytest.mark.parametrize("by", [KILLED, GONE], ids=["killed", "gone"])
def test_a_run_whose_workers_die_as_it_begins_is_recorded_as_failed_after_ten(told_by, tmp_path, by):
    outcome, client, seen = told_by(*[dies(BEGUN, by=by)] * 10)
    assert len(set(client.keys)) == 10  # each under a fresh key, of which dask has counted no deaths
    assert_recorded_as_lost(outcome, seen, outcome.run, tmp_path)


def test_a_run_that_comes_no_further_is_recorded_as_failed_in_the_end(told_by):
    outcome, client, _ = told_by(*[dies(BEGUN, STEP)] * 11)
    assert (outcome.state, len(client.keys)) == ("failed", 11)
    assert "10 workers in a row died over it" in outcome.error


@pytest.mark.parametrize(
    "by", [KILLED, GONE, distributed.CancelledError("restart")], ids=["killed", "gone", "cancelled"]
)
def test_a_run_that_comes_further_survives_fifty_deaths(told_by, tmp_path, by):
    deaths = [dies(BEGUN, ("progress", 1, step, 0.1), by=by) for step in range(50)]
    outcome, client, _ = told_by(*deaths, DONE)
    assert (outcome.state, len(client.keys)) == ("done", 51)
    assert not failures(tmp_path)


def test_what_was_with_a_worker_that_is_gone_is_taken_back_and_given_to_another(told_by):
    outcome, client, seen = told_by(dies(by=GONE), DONE)
    assert (outcome.state, client.workers, client.cancelled) == ("done", ["w1", "w2"], [client.keys[0]])
    assert [line for line in seen.lines() if "its worker w1 died; it is handed out again" in line]


def test_a_worker_that_dies_and_comes_back_at_its_address_is_a_death(told_by, tmp_path):
    outcome, client, _ = told_by({"events": [BEGUN] * 11, "end": None})
    assert outcome.error.startswith("10 workers in a row died over it")
    assert (len(client.keys), client.cancelled) == (1, client.keys)


def test_a_run_that_another_process_has_meanwhile_is_not_recorded_as_failed_before_it_is_free(told_by, tmp_path):
    def release(line):
        if "under way in another process" in line:
            assert not failures(tmp_path)
            claim.release()

    run = told_by(DONE)[0].run
    with Claims(tmp_path) as others:
        claim = others.take(run.name)
        outcome, client, _ = told_by(*[dies(BEGUN)] * 10, told=release)
    assert (outcome.state, len(client.keys)) == ("failed", 10)
    assert list(failures(tmp_path)) == [run.name]


def test_a_task_that_is_lost_is_handed_out_once_more(told_by, tmp_path):
    lost = RuntimeError("cannot be\nunpickled")
    outcome, _, seen = told_by(lost, DONE)
    assert outcome.state == "done"
    assert [line.partition(": ")[2] for line in seen.lines()] == [
        "RuntimeError: cannot be unpickled; it is handed out once more"
    ]
    outcome, _, _ = told_by(lost, lost)
    assert failures(tmp_path)[outcome.run.name].error == outcome.error == "RuntimeError: cannot be unpickled"


@pytest.mark.parametrize(
    "garbage",
    [b"garbage", {}, {"kind": "outcome", "worker": "w1"}, DONE | {"state": "odd"}, DONE | {"accuracy": "0.5"},
     DONE | {"worker": 1}, {"kind": "refused", "worker": "w1"}],
)  # fmt: skip
def test_an_answer_that_cannot_be_read_is_a_loss(told_by, garbage):
    outcome, _, seen = told_by({"events": [], "end": garbage}, DONE)
    assert outcome.state == "done"
    assert any("worker w1 gave an answer that cannot be read; it is handed out once more" in x for x in seen.lines())


BLIND = {"kind": "blind", "worker": "w1"}


@pytest.mark.parametrize(
    ("sent", "why"),
    [({"results": b"garbage"}, "cannot be read|damaged|not a run file"), ({"results": 7}, "did not come"),
     ({"results": b"", "weights": "no bytes"}, "did not come"), ({"failure": {"name": "../x"}}, "why .* did not come"),
     ({"failure": b"\0"}, "why .* did not come")],
)  # fmt: skip
def test_garbage_from_the_wire_is_recorded_and_kept_nowhere(told_by, tmp_path, sent, why):
    outcome, _, _ = told_by(BLIND, DONE | sent, DONE | sent)
    assert re.search(why, failures(tmp_path)[outcome.run.name].error)
    assert files(tmp_path) == [f"{outcome.run.name}.failed.json"]


def test_a_failure_from_the_wire_is_kept_under_the_name_of_its_run(told_by, tmp_path):
    failure = {"name": "x_seed0_000000000000", "error": "odd", "when": "", "where": "", "traceback": "", "attempts": 1}
    outcome, _, _ = told_by(BLIND, DONE | {"state": "failed", "failure": failure})
    assert files(tmp_path) == [f"{outcome.run.name}.failed.json"]
    assert failures(tmp_path)[outcome.run.name].error == "odd"


def test_a_worker_that_closes_costs_a_run_no_try(told_by):
    outcome, client, seen = told_by(*[{"kind": "stopped", "worker": "w1"}] * 3, DONE)
    assert (outcome.state, len(client.keys), seen.lines()) == ("done", 4, [])


def test_a_study_ends_where_its_folder_cannot_be_written_from_a_worker(told_by):
    with pytest.raises(Unwritable, match=r"worker w1 \(node\): 'x.nc' cannot be written: the disk is full"):
        told_by({"kind": "unwritable", "why": "'x.nc' cannot be written: the disk is full", "worker": "w1"})


def test_a_worker_that_does_not_see_the_folder_gets_the_run_over_the_wire(told_by, tmp_path):
    outcome, client, seen = told_by(BLIND, DONE, DONE)
    assert [order["wire"] for order in client.orders] == [False, True, True]
    assert outcome.state == "failed"  # nothing came
    assert "did not come over the wire" in failures(tmp_path)[outcome.run.name].error
    assert files(tmp_path) == [f"{outcome.run.name}.failed.json"]


@pytest.mark.parametrize(("error", "kind"), [(Unwritable("u"), "unwritable"), (InputError("i"), "refused")])
def test_what_ends_a_study_goes_to_the_client_as_words(tiny, monkeypatch, error, kind):
    run = protocols.load(tiny, SHORT, ["rule=ldfa", "seed=0"]).runs[0]
    state = SimpleNamespace(nthreads=1, tasks={"key": SimpleNamespace(state="executing")})
    worker = SimpleNamespace(
        address="w1",
        local_directory="",
        state=state,
        status=SimpleNamespace(name="running"),
        get_current_task=lambda: "key",
    )
    monkeypatch.setattr(distributed, "get_worker", lambda: worker)

    def fails(*_):
        raise error

    monkeypatch.setattr(cluster_task, "_done", fails)
    order = {"topic": "t", "name": run.name, "wire": True, "threads": None, "run": packed(run)}
    assert cluster_task.do_run(order) == {"kind": kind, "why": str(error), "worker": "w1"}


def test_an_interrupt_takes_the_runs_back_and_leaves_the_cluster(two, tiny, tmp_path):
    runs = protocols.load(tiny, ["train.epochs=100000"], ["rule=ldfa"]).runs

    def interrupt(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        handed(runs, tmp_path, two.scheduler_address, Seen(progress=interrupt), every="never")
    with Client(two.scheduler_address, set_as_default=False) as client:
        until(lambda: not any(client.run(running).values()))  # the workers saw it, and let go
        assert not any(client.processing().values())
        assert len(client.run(os.getpid)) == 2
    assert files(tmp_path) == []


def running(dask_worker):
    """How many tasks have a thread of the worker, those that were taken back and have not yet ended among them."""
    return len(dask_worker.state.all_running_tasks)


def test_a_run_that_was_given_up_while_it_waited_for_its_turn_does_not_begin():
    class Given:
        def check(self):
            raise cluster_task.Stopped

    with pytest.raises(cluster_task.Stopped), cluster_task._alone(Given()):
        pytest.fail("it began")
    assert cluster_task.ONE.acquire(timeout=0)
    cluster_task.ONE.release()


def until(condition):
    end = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def test_data_that_a_worker_cannot_have_end_the_study_with_its_name(two, tiny, tmp_path):
    runs = protocols.load(tiny, ["data.name=cifar10", "data.options={}"], ["rule=ldfa", "seed=0"]).runs
    with pytest.raises(
        InputError, match=r"worker \S+ \(.*\): cifar10 was not found in .*nowhere, which is not a folder"
    ):
        handed(runs, tmp_path, two.scheduler_address, data_folder=tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"worker \S+ \(.*\): --device 'cuda:9' cannot be used"):
        handed(runs, tmp_path, two.scheduler_address, device="cuda:9")


def test_a_scheduler_that_goes_ends_the_study_in_one_line(tiny, tmp_path):
    runs = protocols.load(tiny, ["train.epochs=100000"], ["rule=ldfa", "seed=0"]).runs
    with local(processes=False) as here:
        seen = Seen(progress=lambda *_: here.close())
        with pytest.raises(InputError, match=f"--dask '{here.scheduler_address}': the scheduler is gone; what is fin"):
            handed(runs, tmp_path, here.scheduler_address, seen)


@pytest.mark.parametrize("address", ["tcp://127.0.0.1:9", "nonsense", "smtp://127.0.0.1:80"])
def test_an_address_at_which_no_scheduler_answers_is_refused(tmp_path, monkeypatch, address):
    monkeypatch.setattr(cluster, "PATIENCE", 0.3)
    with pytest.raises(InputError, match=f"--dask '{address}': no scheduler answers .*start one with `dask scheduler`"):
        handed([], tmp_path, address)


def test_a_loop_starts_after_a_refused_address_though_its_thread_collects_garbage(tmp_path, monkeypatch):
    begin = distributed.utils.asyncio_run

    def collecting(*rest, **options):
        gc.collect()
        return begin(*rest, **options)

    gc.disable()
    try:
        with pytest.raises(InputError, match="no scheduler answers"):
            handed([], tmp_path, "nonsense")
        monkeypatch.setattr(distributed.utils, "asyncio_run", collecting)
        with local(processes=False):
            pass
    finally:
        gc.enable()


def test_without_distributed_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    with pytest.raises(InputError, match=r"--dask 'tcp://a:1' needs distributed.*pip install 'rfmodel\[cluster\]'"):
        handed([], tmp_path, "tcp://a:1")


def test_one_process_trains_one_run_at_a_time(tiny, tmp_path, monkeypatch):
    runs = protocols.load(tiny, SHORT, ["rule=bp"]).runs
    at_once, most = [], []

    def watched(run, context, order, line):
        at_once.append(run.name)
        most.append(len(at_once))
        time.sleep(0.05)
        at_once.remove(run.name)
        return done_(run)

    def done_(run):
        from rfmodel.running.outcomes import Outcome

        return Outcome(run, "done", 0.5)

    monkeypatch.setattr(cluster_task, "_completed", watched)
    monkeypatch.setattr(cluster_handing, "LOOK", 0.1)
    with local(processes=False, n_workers=3, threads_per_worker=2) as here:
        handed(runs, tmp_path, here.scheduler_address)
    assert most == [1] * len(runs)


class Fake:
    """A client whose workers answer as they are told, and whose tasks come to what they are told."""

    status = "running"

    def __init__(self, replies=(), **answers):
        self.answers, self.replies, self.keys, self.orders = answers, list(replies), [], []
        self.workers, self.cancelled, self.listener = [], [], None

    def processing(self):
        return {worker: [] for worker in self.answers}

    def run(self, _, workers, on_error):
        return {worker: self.answers[worker] for worker in workers}

    def subscribe_topic(self, _, listener):
        self.listener = listener

    def submit(self, function, order, *, key, workers, **_):
        self.keys.append(key)
        self.orders.append(order)
        self.workers += workers
        future, reply = concurrent.futures.Future(), self.replies.pop(0)
        future.key, future.release = key, lambda: None
        if isinstance(reply, dict) and "events" in reply:
            for what, *rest in reply["events"]:
                self.listener((0.0, [what, order["name"], *rest]))
            reply = reply["end"]
        if isinstance(reply, Exception):
            future.set_exception(reply)
        elif reply is GONE:
            self.answers = {f"w{len(self.keys) + 1}": answer()}
        elif reply is not None:
            future.set_result(reply)
        return future

    def cancel(self, futures, **_):
        self.cancelled += [future.key for future in futures]


def answer(threads=1, **versions):
    return {"versions": cluster_task.versions() | versions, "threads": threads, "host": "node"}


@pytest.mark.parametrize("package", ["rfmodel", "torch"])
def test_a_worker_of_another_version_is_refused_with_both_versions(package):
    crew = Crew(Fake(w1=answer(), w2=answer(**{package: "0.0.1"})), "tcp://a:1", lambda _: None, None)
    here = cluster_task.versions()[package]
    with pytest.raises(InputError, match=f"worker w2 has {package} 0.0.1, and {here} is here; install the same"):
        crew.look()


def test_a_worker_without_rfmodel_is_refused():
    crew = Crew(Fake(w1=ModuleNotFoundError("No module named 'rfmodel'")), "tcp://a:1", lambda _: None, None)
    with pytest.raises(InputError, match="worker w1 cannot import rfmodel .*No module named 'rfmodel'"):
        crew.look()


def test_a_worker_that_answers_with_an_error_is_refused_and_one_that_is_gone_is_not():
    crew = Crew(Fake(w1=answer(), w2=OSError("gone")), "tcp://a:1", lambda _: None, None)
    crew.look()
    assert crew.idle({}) == ["w1"]
    with pytest.raises(InputError, match=r"worker w3 does not answer \(ValueError: odd\)"):
        Crew(Fake(w3=ValueError("odd")), "tcp://a:1", lambda _: None, None).look()


@pytest.mark.parametrize("what", ["processing", "run"])
def test_a_scheduler_that_goes_while_it_is_asked_is_named(monkeypatch, what):
    def lost(*_, **__):
        raise OSError("connection closed")

    client = Fake(w1=answer())
    monkeypatch.setattr(client, what, lost)
    with pytest.raises(InputError, match="--dask 'tcp://a:1': the scheduler is gone; what is finished is kept"):
        Crew(client, "tcp://a:1", lambda _: None, None).look()


def test_a_scheduler_that_goes_while_a_task_is_taken_back_is_named(told_by, monkeypatch):
    def lost(*_, **__):
        raise OSError("connection closed")

    monkeypatch.setattr(Fake, "cancel", lost)
    with pytest.raises(InputError, match="the scheduler is gone"):
        told_by(dies(by=GONE), DONE)


def test_a_worker_of_another_version_that_joins_later_is_left_out():
    client, told = Fake(w1=answer()), []
    crew = Crew(client, "tcp://a:1", told.append, None)
    crew.look()
    crew.began = True
    client.answers["w2"] = answer(torch="1.0")
    crew.look()
    crew.look()
    assert crew.idle({}) == ["w1"]
    assert [line for line in told if "worker w2 is left out: has torch 1.0" in line] == told


def test_what_may_change_last_bits_is_told_and_not_refused():
    told = []
    Crew(Fake(w1=answer(), w2=answer(threads=4, python="3.99.0")), "tcp://a:1", told.append, None).look()
    assert any("has Python 3.99.0" in line for line in told)
    assert any("workers have 1 and 4 threads" in line for line in told)


def test_a_worker_with_a_run_is_not_idle():
    crew = Crew(Fake(w1=answer(), w2=answer(), w3=answer(), w4=answer()), "tcp://a:1", lambda _: None, 1)
    crew.look()
    crew.processing = {"w1": ["rfmodel-a"], "w2": ["of-others"], "w3": [], "w4": []}
    assert crew.idle({"rfmodel-a": "w4", "rfmodel-b": "w3"}) == ["w4", "w2"]  # who has tasks of others comes last


def test_files_of_another_run_are_not_taken_from_the_wire(reference, tmp_path):
    folder, runs = reference
    (tmp_path / "runs").mkdir()
    sent = {"results": store.run_path(folder, runs[0].name).read_bytes()}
    weights = store.weights_path(folder, runs[0].name).read_bytes()
    with pytest.raises(
        InputError, match=f"results of '{runs[1].name}' came over the wire as those of '{runs[0].name}'"
    ):
        keep_results(runs[1], tmp_path, sent)
    with pytest.raises(InputError, match=f"weights of '{runs[0].name}' are not those of its results"):
        keep_results(runs[0], tmp_path, sent | {"weights": weights + b"0"})
    with pytest.raises(InputError, match="cannot be read|is damaged"):
        keep_results(runs[0], tmp_path, {"results": sent["results"][:-100], "weights": weights})
    with pytest.raises(InputError, match="did not come over the wire"):
        keep_results(runs[0], tmp_path, {})
    assert not list(tmp_path.rglob("*.nc"))
    keep_results(runs[0], tmp_path, sent | {"weights": weights})
    assert_same(tmp_path, folder, runs[:1])


def test_a_run_of_a_living_process_is_waited_for_or_left(two, reference, tmp_path, monkeypatch):
    folder, runs = reference
    (tmp_path / "runs").mkdir()
    monkeypatch.setattr(cluster_handing, "LOOK", 0.1)
    with Claims(tmp_path, 1.0) as others:  # all who share a folder have one lease
        claim = others.take(runs[0].name)
        (outcome,) = handed(runs[:1], tmp_path, two.scheduler_address, lease=1.0, wait=False)
        assert outcome.state == "elsewhere"
        seen = Seen(told=lambda line: claim.release() if "waiting until it is finished or free" in line else None)
        (outcome,) = handed(runs[:1], tmp_path, two.scheduler_address, seen, lease=1.0)
    assert outcome.state == "done"
    assert_same(tmp_path, folder, runs[:1])


def test_what_a_run_raises_is_recorded_and_the_others_go_on(two, tiny, tmp_path, monkeypatch):
    (tmp_path / "bad.py").write_text("def make(*_, **__):\n    raise ValueError('no such rule')\n")
    (tmp_path / "p.toml").write_text(TINY.replace('name = "ldfa", q = "hebbian"', 'name = "bad.py:make"'))
    runs = protocols.load(tmp_path / "p.toml", SHORT, ["seed=0"], allow_code=True).runs[1:]
    for way in ("files", "wire"):
        if way == "wire":
            monkeypatch.setattr(cluster, "_token", lambda _: unseen())
        outcomes = handed(runs, tmp_path / way, two.scheduler_address)
        assert sorted(outcome.state for outcome in outcomes) == ["done", "failed"]
        (failure,) = failures(tmp_path / way).values()
        assert "no such rule" in failure.error


def test_torch_gets_its_threads_back():
    line = SimpleNamespace(check=lambda: None)
    with cluster_task._alone(line), cluster_task._threads(3):
        assert torch.get_num_threads() == 3
        waiting = threading.Thread(target=lambda: stopped(line))
        line.check = raise_stopped
        waiting.start()
        waiting.join()
    assert torch.get_num_threads() == 1
    assert STOPPED == [True]


STOPPED = []


def raise_stopped():
    raise cluster_task.Stopped


def stopped(line):
    try:
        with cluster_task._alone(line):
            pass
    except cluster_task.Stopped:
        STOPPED.append(True)
