"""Writing: what a failed write says and leaves, and whose half-written files are swept."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys

import pytest

from rfmodel.errors import InputError
from rfmodel.store import alive, writing
from rfmodel.store.wording import escaped, one_line
from rfmodel.store.writing import DAY, Unwritable, sweep, write_aside

WORDS = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EROFS: "the disk is read-only",
    errno.EACCES: "permission is denied",
    errno.EPERM: "permission is denied",
    errno.EIO: "the disk reports an input/output error",
    errno.ESTALE: "the file server has lost the folder",
    errno.ENAMETOOLONG: "its name is too long",
    errno.ENOTDIR: "its folder is a file",
    errno.EFBIG: "it is larger than a file may be here",
    errno.ENODEV: os.strerror(errno.ENODEV),
}


def fails(code):
    def fail(*_, **__):
        raise OSError(code, os.strerror(code))

    return fail


def written(text):
    return lambda path: path.write_text(text)


def gone_process():
    done = subprocess.run(
        [
            sys.executable,
            "-B",
            "-c",
            "from rfmodel.store.alive import this_process as t; p = t(); print(p.pid, p.start)",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    return tuple(map(int, done.stdout.split()))


def part(folder, machine, pid, start, name="a.nc"):
    path = folder / f".{name}.{machine}-{pid}-{start}-0123abcd.part"
    path.write_text("half")
    return path


@pytest.mark.parametrize("code", WORDS)
def test_an_error_of_the_disk_is_one_line_that_names_the_path_and_the_reason(code, tmp_path):
    with pytest.raises(Unwritable, match="cannot be written") as caught:
        write_aside(tmp_path / "run.nc", fails(code))
    told = str(caught.value)
    assert told.startswith(f"'{tmp_path / 'run.nc'}' cannot be written: {WORDS[code]}; nothing was left half written; ")
    assert "\n" not in told and isinstance(caught.value, InputError)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("step", ["open", "os.fsync", "os.replace", "flushing the folder"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_whatever_step_fails_the_former_file_is_there_whole_or_the_new_one_is(step, code, tmp_path, monkeypatch):
    (tmp_path / "run.nc").write_text("former")
    if step == "open":
        write = fails(code)
    else:
        write = written("new")
        target = {"os.fsync": (os, "fsync"), "os.replace": (os, "replace")}.get(step, (writing, "_flush_folder"))
        monkeypatch.setattr(*target, fails(code))
    with pytest.raises(Unwritable, match=WORDS[code]):
        write_aside(tmp_path / "run.nc", write)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["run.nc"]
    assert (tmp_path / "run.nc").read_text() == ("new" if step == "flushing the folder" else "former")


def test_a_disk_that_turns_read_only_leaves_one_line_and_what_a_sweep_removes(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "replace", fails(errno.EROFS))
    monkeypatch.setattr(type(tmp_path), "unlink", fails(errno.EROFS))
    with pytest.raises(Unwritable, match="the disk is read-only") as caught:
        write_aside(tmp_path / "run.nc", written("x"))
    assert "\n" not in str(caught.value) and caught.value.__cause__ is None
    (left,) = tmp_path.iterdir()
    assert left.suffix == ".part" and writing.ASIDE.fullmatch(left.name)


def test_a_library_that_reports_a_full_disk_in_many_lines_is_told_in_one(tmp_path):
    def hdf5(path):
        raise RuntimeError("file write failed:\n  errno = 28,\n\terror message = 'No space left on device'\x1b[2J")

    with pytest.raises(Unwritable, match="file write failed: errno = 28, error message") as caught:
        write_aside(tmp_path / "run.nc", hdf5)
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)
    with pytest.raises(Unwritable, match="cannot be written: RuntimeError; nothing was left half written"):
        write_aside(tmp_path / "run.nc", lambda path: (_ for _ in ()).throw(RuntimeError()))


def test_a_folder_that_is_not_there_or_is_a_file_is_said_to_be(tmp_path):
    with pytest.raises(Unwritable, match="'.*/lost/run.nc' cannot be written: its folder is not there"):
        write_aside(tmp_path / "lost" / "run.nc", written("x"))
    (tmp_path / "file").write_text("")
    with pytest.raises(Unwritable, match="'.*/file/run.nc' cannot be written: its folder is a file"):
        write_aside(tmp_path / "file" / "run.nc", written("x"))
    (tmp_path / "run.nc").mkdir()
    with pytest.raises(Unwritable, match="'.*/run.nc' cannot be written: a folder has its name"):
        write_aside(tmp_path / "run.nc", written("x"))


def test_a_path_that_would_break_the_line_is_escaped(tmp_path):
    with pytest.raises(Unwritable, match=r"/lost/a b\\x1b\[31m.nc' cannot be written"):
        write_aside(tmp_path / "lost" / "a\nb\x1b[31m.nc", written("x"))


def test_the_file_then_the_folder_is_flushed_around_the_renaming(tmp_path, monkeypatch):
    order, fsync, replace = [], os.fsync, os.replace
    monkeypatch.setattr(
        os, "fsync", lambda fd: (order.append("folder" if os.path.isdir(f"/proc/self/fd/{fd}") else "file"), fsync(fd))
    )
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    write_aside(tmp_path / "run.nc", written("x"))
    assert order == ["file", "rename", "folder"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF])
def test_a_system_that_cannot_flush_a_folder_writes_all_the_same(code, tmp_path, monkeypatch):
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: fails(code)() if os.path.isdir(f"/proc/self/fd/{fd}") else fsync(fd))
    write_aside(tmp_path / "run.nc", written("x"))
    assert (tmp_path / "run.nc").read_text() == "x"


def test_an_interrupt_leaves_nothing(tmp_path):
    def interrupted(path):
        path.write_text("half")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_aside(tmp_path / "run.nc", interrupted)
    assert not list(tmp_path.iterdir())


def test_the_longest_name_that_a_disk_takes_can_be_written(tmp_path):
    for name in ("n" * 255, "é" * 127):
        write_aside(tmp_path / name, written("x"))
        assert (tmp_path / name).read_text() == "x"


def test_an_error_crosses_processes(tmp_path):
    error = writing.unwritable(tmp_path, OSError(errno.ENOSPC, ""))
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is Unwritable and str(again) == str(error)


def test_a_sweep_removes_what_a_dead_writer_left_wherever_a_study_keeps_files(tmp_path):
    program = (
        "import os, sys, pathlib; from rfmodel.store.writing import write_aside\n"
        "def die(path): path.write_text('half'); os.kill(os.getpid(), 9)\n"
        "write_aside(pathlib.Path(sys.argv[1]), die)"
    )
    places = ["protocol.toml", "manifest.json", "runs/a.nc", "runs/a.checkpoint", "rules/b_0123.py"]
    for place in places:
        (tmp_path / place).parent.mkdir(exist_ok=True)
        done = subprocess.run([sys.executable, "-B", "-c", program, str(tmp_path / place)], check=False)
        assert done.returncode == -9
    assert len([p for p in tmp_path.rglob(".*.part")]) == len(places)
    assert len(sweep(tmp_path)) == len(places)
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def test_a_sweep_leaves_what_the_living_write(tmp_path):
    program = "import sys, pathlib; from rfmodel.store.writing import write_aside\n" + (
        "def wait(path): path.write_text('whole'); print('writing', flush=True); sys.stdin.readline()\n"
        "write_aside(pathlib.Path(sys.argv[1]), wait)"
    )
    other = subprocess.Popen(
        [sys.executable, "-B", "-c", program, str(tmp_path / "a.nc")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with other:
        assert other.stdout.readline() == "writing\n"
        (aside,) = tmp_path.iterdir()
        os.utime(aside, (0, 0))  # however old it looks
        assert sweep(tmp_path) == []
        write_aside(tmp_path / "b.nc", lambda path: (path.write_text("mine"), sweep(tmp_path)))
        other.communicate("\n", timeout=60)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.nc", "b.nc"]


@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="when a process started is told by /proc")
def test_a_process_under_a_dead_writers_number_does_not_keep_what_it_left(tmp_path):
    me = alive.this_process()
    reused = part(tmp_path, me.machine, me.pid, me.start - 1)
    mine = part(tmp_path, me.machine, me.pid, me.start)
    assert sweep(tmp_path) == [reused] and mine.exists()


@pytest.mark.parametrize("machine", ["0123456789ab", None])
def test_another_machines_part_is_swept_only_when_a_day_older_than_a_file_made_now(machine, tmp_path, monkeypatch):
    pid, start = gone_process()
    found = part(tmp_path, machine, pid, start) if machine else tmp_path / ".a.nc.0123.part"  # or of no known form
    found.write_text("half")
    now = (tmp_path / "now").write_text("") or (tmp_path / "now").stat().st_mtime
    monkeypatch.setattr("time.time", lambda: now + 1e9)  # this machine's clock counts for nothing
    for age, swept in ((0, False), (-7 * DAY, False), (DAY - 60, False), (DAY + 60, True)):
        os.utime(found, (now - age, now - age))
        assert bool(sweep(tmp_path)) is swept and found.exists() is not swept
    assert [p.name for p in tmp_path.iterdir()] == ["now"]


def test_a_sweep_touches_nothing_but_parts_and_survives_a_disk_it_cannot_change(tmp_path, monkeypatch):
    pid, start = gone_process()
    left = part(tmp_path, alive.machine(), pid, start)
    strange = [tmp_path / ".a.part.nc", tmp_path / "a.part", tmp_path / ".folder.part"]
    strange[0].write_text("")
    strange[1].write_text("")
    strange[2].mkdir()
    (tmp_path / ".link.part").symlink_to(strange[1])
    foreign = part(tmp_path, "0123456789ab", pid, start)
    os.utime(foreign, (0, 0))
    with monkeypatch.context() as patched:
        patched.setattr(type(tmp_path), "unlink", fails(errno.EROFS))
        patched.setattr(type(tmp_path), "write_bytes", fails(errno.EROFS))
        assert sweep(tmp_path) == []
    assert sweep(tmp_path) == sorted([left, foreign])
    assert all(path.exists() for path in (*strange, tmp_path / ".link.part"))
    assert sweep(tmp_path / "nowhere") == []


def test_a_process_of_another_machine_or_number_out_of_range_is_not_known_to_be_gone():
    me = alive.this_process()
    assert me.lives() is True
    assert alive.Process("0123456789ab", me.pid, me.start).lives() is None
    for pid in (0, -1, 2**31, 10**12):
        assert alive.Process(me.machine, pid, me.start).lives() is None
    pid, start = gone_process()
    assert alive.Process(me.machine, pid, start).lives() is False
    assert alive.Process(me.machine, me.pid, 0).lives() is None  # when it started is not known


def test_a_killed_process_that_nobody_has_buried_is_gone():
    child = subprocess.Popen([sys.executable, "-B", "-c", "input()"], stdin=subprocess.PIPE)
    try:
        start = alive._state(child.pid)[1]
        process = alive.Process(alive.machine(), child.pid, start)
        assert process.lives() is True
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process.lives() is False
    finally:
        child.kill()
        child.communicate()


def test_words_are_one_line_of_bounded_length_that_a_terminal_obeys_in_nothing():
    assert one_line("a\n\tb\r\x1b[31m\ud800\x00") == r"a b \x1b[31m\ud800\x00"
    assert one_line("x" * 10**6, 20) == "x" * 17 + "..."
    assert len(one_line("\x00" * 1000, 50)) == 50
    assert escaped("a\nb\x07", kept="\n") == "a\nb\\x07"
