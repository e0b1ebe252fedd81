"""Diagnosis: every row says what it found, and what is broken breaks no other row."""

from __future__ import annotations

import errno
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from typer.testing import CliRunner

from rfmodel import datasets, doctor, doctor_compiler, doctor_disk, doctor_machine, precision
from rfmodel.cli import app


@pytest.fixture(autouse=True)
def no_compiler(monkeypatch):
    monkeypatch.setattr(doctor, "compiles", lambda: ("works", "ok"))


def rows(data=None, out=None):
    return {row.what: row for row in doctor.examine(data, out)}


def test_a_sound_machine_has_nothing_broken(tmp_path):
    found = rows(out=tmp_path)
    assert [row for row in found.values() if row.verdict == "broken"] == []
    assert {"python", "platform", "rfmodel", "torch", "numpy", "processor", "threads", "memory", "devices"} <= set(
        found
    )
    assert {"bf16", "torch.compile", "output", "data folder", "ffmpeg"} <= set(found)
    assert {f"data: {name}" for name in datasets.DATASETS} <= set(found)
    assert found["torch"].found == torch.__version__
    assert all(row.found and "\n" not in row.found for row in found.values())


def test_whatever_a_look_raises_is_its_own_row(monkeypatch, tmp_path):
    def broken():
        raise OSError("libcudart.so:\ncannot open shared object file")

    monkeypatch.setattr(doctor, "devices", broken)
    found = rows(out=tmp_path)
    assert found["devices"] == ("devices", "OSError: libcudart.so: cannot open shared object file", "broken")
    assert found["memory"].verdict == "ok"


def test_missing_extras_are_named_with_what_they_would_give(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: raise_(doctor.PackageNotFoundError(name)))
    found, verdict = doctor._package("timm", None, "vision")
    assert (found, verdict) == (
        "not installed; pip install 'rfmodel[vision]' would give reference networks", "missing",
    )  # fmt: skip
    assert doctor._package("distributed", None, "cluster")[0].endswith("`rfmodel run --dask`: runs on a cluster")
    assert doctor._package("torch", "2.6", None) == ("not installed; pip install torch would do", "broken")


def raise_(error):
    raise error


def test_a_dependency_that_is_too_old_is_broken(monkeypatch):
    monkeypatch.setattr(doctor, "version", lambda name: "2.13.0+cpu")
    assert doctor._package("torch", "2.6", None) == ("2.13.0+cpu", "ok")
    assert doctor._package("torch", "2.13", None)[1] == "ok"
    assert doctor._package("torch", "2.14", None) == ("2.13.0+cpu, and 2.14 or later is needed", "broken")


def test_dependencies_are_read_from_the_packages_own_metadata(monkeypatch):
    asked = ["torch>=2.6", "zarr[remote] >= 3", "timm; extra == 'vision'", 'ruff>=0.6; extra == "dev"', "distributed ; extra == 'cluster'"]  # fmt: skip # noqa: E501
    monkeypatch.setattr(doctor, "requires", lambda _: asked)
    monkeypatch.setattr(doctor, "version", lambda name: "2.0")
    found = {what: look() for what, look in doctor._packages()}
    assert list(found) == ["torch", "zarr", "timm", "distributed"]
    assert [verdict for _, verdict in found.values()] == ["broken", "broken", "ok", "ok"]


def test_a_data_folder_that_is_none_says_so_in_its_row(tmp_path):
    found = rows(tmp_path / "nowhere", tmp_path)
    assert (
        found["data folder"].found
        == f"'{tmp_path / 'nowhere'}' is not a folder; --data with one that is there would do"
    )
    assert found["data folder"].verdict == "broken"
    assert found["data: cifar10"].verdict == "missing"
    assert found["data: natural_patches"] == ("data: natural_patches", "built in", "ok")


def test_no_data_folder_is_no_fault(monkeypatch, tmp_path):
    monkeypatch.delenv("RFMODEL_DATA", raising=False)
    assert rows(out=tmp_path)["data folder"].verdict == "note"
    monkeypatch.setenv("RFMODEL_DATA", str(tmp_path))
    assert rows(out=tmp_path)["data folder"] == ("data folder", str(tmp_path), "ok")


def test_files_that_are_not_the_published_ones_are_named(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").write_bytes(b"other")
    found = rows(tmp_path, tmp_path)["data: cifar10"]
    assert found.verdict == "broken"
    assert "data_batch_1 not as published" in found.found
    assert "data_batch_2" in found.found.partition("not there")[0]


def test_published_files_are_verified(monkeypatch, tmp_path):
    checks = [datasets.FileCheck("a", 1, True), datasets.FileCheck("b", 1, True)]
    monkeypatch.setattr(datasets, "verify", lambda *_: checks)
    assert doctor._data_set("cifar10", tmp_path) == ("2 files, 2 with the published MD5", "ok")


def test_classes_of_an_image_folder_are_counted(tmp_path):
    (tmp_path / "train" / "cats").mkdir(parents=True)
    (tmp_path / "train" / "dogs").mkdir()
    (tmp_path / "val" / "cats").mkdir(parents=True)
    (tmp_path / "val" / "dogs").mkdir()
    assert "2 classes in" in rows(tmp_path, tmp_path)["data: image_folder"].found


def test_an_output_folder_is_tried_and_left_as_it_was(tmp_path):
    found, verdict = doctor_disk.disk(tmp_path / "not" / "yet")
    assert (verdict, found.startswith(f"{tmp_path}: ")) == ("ok", True)
    assert "creates exclusively, renames atomically, flushes" in found
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert doctor_disk.disk(tmp_path / "file" / "out") == (
        f"'{tmp_path / 'file'}' is a file, and a folder is needed; another --out would do", "broken",
    )  # fmt: skip


def test_what_a_file_system_does_not_do_is_said(tmp_path, monkeypatch):
    create = doctor_disk._create
    monkeypatch.setattr(doctor_disk, "_create", lambda path, content: path.write_bytes(content))
    assert "claims of runs would not hold" in doctor_disk.tried(tmp_path)
    monkeypatch.setattr(doctor_disk, "_create", create)
    monkeypatch.setattr(doctor_disk.os, "replace", lambda *_: None)
    assert "results would not appear whole" in doctor_disk.tried(tmp_path)
    monkeypatch.undo()
    for name in ("fsync", "replace"):
        full = OSError(errno.EROFS, "Read-only file system")
        monkeypatch.setattr(doctor_disk.os, name, lambda *_, full=full: raise_(full))
        assert doctor_disk.tried(tmp_path) == "cannot be written (Read-only file system); another --out would do"
        monkeypatch.undo()
    assert list(tmp_path.iterdir()) == []


def test_the_file_system_is_that_of_the_deepest_mount(tmp_path, monkeypatch):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/a / ext4 rw 0 0\nserver:/x {tmp_path.resolve()} nfs4 rw 0 0\nb {tmp_path}x tmpfs rw 0 0\n")
    monkeypatch.setattr(doctor_disk, "MOUNTS", mounts)
    assert doctor_disk.kind(tmp_path) == "nfs4"
    monkeypatch.setattr(doctor_disk, "MOUNTS", tmp_path / "none")
    assert doctor_disk.kind(tmp_path) == "file system unknown"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine of 16 GiB, by the files in which Linux says so; returns how to write one."""
    monkeypatch.setattr(doctor_machine, "GROUPS", tmp_path / "groups")
    monkeypatch.setattr(doctor_machine, "OWN", tmp_path / "own")
    monkeypatch.setattr(doctor_machine, "INFO", tmp_path / "meminfo")
    monkeypatch.setattr(doctor_machine, "CPU", tmp_path / "cpuinfo")

    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    write("meminfo", f"MemTotal: {16 * 2**20} kB\nMemAvailable: {8 * 2**20} kB\n")
    write("own", "0::/job_7/step_0\n")
    return write


def test_the_tightest_limit_of_memory_above_a_job_is_the_one_that_holds(machine):
    assert doctor_machine.memory() == ("8.0 of 16.0 GiB free", "ok")
    machine("groups/job_7/memory.max", f"{4 * 2**30}\n")
    machine("groups/job_7/memory.current", f"{3.5 * 2**30:.0f}\n")
    machine("groups/job_7/step_0/memory.max", "max\n")
    machine("groups/job_7/step_0/memory.current", "1\n")
    told = "8.0 of 16.0 GiB free; the control group allows 4.0 GiB, 0.5 left"
    assert doctor_machine.memory() == (told, "note")


def test_limits_of_the_first_version_of_control_groups_are_read(machine):
    machine("own", "4:memory:/box\n1:cpu,cpuacct:/box\n")
    machine("groups/memory/box/memory.limit_in_bytes", f"{2 * 2**30}\n")
    machine("groups/memory/box/memory.usage_in_bytes", "0\n")
    machine("groups/cpu/box/cpu.cfs_quota_us", "150000\n")
    machine("groups/cpu/box/cpu.cfs_period_us", "100000\n")
    machine("groups/cpu/cpu.cfs_quota_us", "-1\n")
    machine("groups/cpu/cpu.cfs_period_us", "100000\n")
    assert doctor_machine.group_memory() == (2.0, 0.0)
    assert doctor_machine.quota() == 1.5


def test_more_threads_than_cores_are_told(machine, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(doctor_machine, "cores", lambda: 8)
    assert doctor_machine.threads() == ("torch uses 64, and 8 cores are allowed; --threads 8 would be faster", "note")
    machine("groups/cpu.max", "250000 100000\n")
    assert "and 3 cores are allowed" in doctor_machine.threads()[0]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    assert doctor_machine.threads()[1] == "ok"


def test_units_are_named_and_what_auto_would_choose(machine, monkeypatch):
    machine("cpuinfo", "model name : Chip X\nflags : fpu avx512_bf16 amx_bf16\nflags : none\n")
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: True)
    assert doctor_machine.bf16()[0].startswith("avx512_bf16, amx_bf16; precision auto is bf16 on ")
    machine("cpuinfo", "Features : asimd bf16\n")
    assert doctor_machine.bf16()[0].startswith("Arm bf16; ")
    machine("cpuinfo", "flags : fpu\n")
    monkeypatch.setattr(precision, "has_bf16_units", lambda device: False)
    assert doctor_machine.bf16()[0].startswith("no units; precision auto is fp32 on ")
    assert set(doctor_machine.UNITS) == precision.FLAGS


def test_a_gpu_is_told_with_memory_capability_and_driver(monkeypatch, tmp_path):
    cuda = SimpleNamespace(
        is_available=lambda: True, device_count=lambda: 1, mem_get_info=lambda _: (3 * 2**30, 8 * 2**30),
        get_device_capability=lambda _: (8, 6), get_device_name=lambda _: "GPU Y",
    )  # fmt: skip
    monkeypatch.setattr(torch, "cuda", cuda)
    monkeypatch.setattr(torch.version, "cuda", "12.9")
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 570.1\n")
    smi.chmod(0o755)
    monkeypatch.setattr(doctor_machine.shutil, "which", lambda _: str(smi))
    told = "cuda:0 GPU Y, 3.0 of 8.0 GiB free, capability 8.6; CUDA 12.9, driver 570.1"
    assert doctor_machine.devices() == (told, "ok")
    smi.write_text("#!/bin/sh\nexit 9\n")
    assert doctor_machine.devices()[0].endswith("driver unknown")


def test_a_driver_that_is_too_old_is_told(monkeypatch):
    def available():
        import warnings

        warnings.warn("The NVIDIA driver on your system is too old\nplease", UserWarning, stacklevel=2)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", available)
    assert doctor_machine.devices() == ("processor only: The NVIDIA driver on your system is too old", "note")


def test_a_compiler_that_hangs_is_ended(tmp_path):
    program = f"import os, time; open({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    found, verdict = doctor_compiler.compiles(4.0, program)
    assert (found.startswith("no answer within 4 s"), verdict) == (True, "note")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", f"(ended by signal {int(signal.SIGSEGV)})"),
        ("raise SystemExit(3)", "(ended with code 3)"),
        ("raise RuntimeError('no compiler')", "(RuntimeError: no compiler)"),
        (
            "from rfmodel.errors import InputError\n"
            "raise InputError('train.compile = true, but torch.compile fails for cpu here (g++ is gone); install a')",
            "(g++ is gone)",
        ),
    ],
)
def test_a_compiler_that_crashes_or_is_missing_is_one_line(program, told):
    found, verdict = doctor_compiler.compiles(60.0, program)
    assert (found, verdict) == (f"does not work {told}; train.compile = true is refused here", "note")


def test_a_compiler_that_works_is_ok():
    assert doctor_compiler.compiles(60.0, "pass")[1] == "ok"


@pytest.mark.slow
def test_the_trial_compiles_or_says_why_not():
    found, verdict = doctor_compiler.compiles()
    assert found.startswith("works" if verdict == "ok" else ("does not work (", "no answer within"))


def test_the_command_prints_every_row(tmp_path):
    done = CliRunner().invoke(app, ["doctor", "--out", str(tmp_path)])
    assert done.exit_code == 0
    assert all(row in done.output for row in rows(out=tmp_path))
