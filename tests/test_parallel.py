"""Two processes that share each batch train the network that one trains."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import nn

from rfmodel import cli, parallel, store
from rfmodel.datasets import Augmentation, Split, batches
from rfmodel.errors import InputError

LIMIT = 240  # seconds after which processes that wait for each other are ended
ROUNDED = 2e-4  # float32: halves are summed in another order, and a few dozen steps amplify it

needs_gloo = pytest.mark.skipif(
    not (dist.is_available() and dist.is_gloo_available()), reason="this build of torch has no gloo"
)

PROTOCOL = """
[data]
options = { classes = ["astronaut", "brick", "coins", "coffee"], train_per_class = 27, test_per_class = 9 }
size = 16

[train]
epochs = 3
batch = 24
precision = "fp32"
augment = { flip = true, crop = 2 }

[train.optimiser]
name = "sgd"
learning_rate = 0.005
options = { momentum = 0.9 }

[[conditions]]
name = "VGG, BP"
network = { name = "vgg", width = 0.0625, dropout = 0.0 }

[[conditions]]
name = "MLP, FA"
network = { name = "mlp", width = 16, depth = 2, batch_norm = true }
rules = "fa"

[[conditions]]
name = "MLP, LDFA"
network = { name = "mlp", width = 16, depth = 2 }
rules = { "layer2" = { name = "ldfa", rank = 2, normalise = "none" } }

[[conditions]]
name = "MLP, SSA"
network = { name = "mlp", width = 16, depth = 2 }
rules = { name = "ssa2024", schedule = { kind = "epochs", every = 1, floor = 0.5 } }
"""


def run(*command, processes=1):
    """Run the command line in so many processes; return the code and what the first said."""
    base = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    launcher = [sys.executable, "-m"]
    if processes > 1:
        launcher += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    done = subprocess.run(
        [*launcher, "rfmodel", *command], env=base, capture_output=True, text=True, timeout=LIMIT, check=False
    )
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parallel")
    (folder / "p.toml").write_text(PROTOCOL)
    found = []
    for processes in (1, 2):
        out = folder / str(processes)
        code, said, erred = run(
            "run", str(folder / "p.toml"), "--out", str(out), "--device", "cpu", processes=processes
        )
        assert code == 0, erred[-2000:]
        found.append((store.open_study(out), said))
    return found


@needs_gloo
def test_two_processes_have_the_history_of_one(studies):
    (one, _), (two, _) = studies
    assert list(one["condition"].values) == list(two["condition"].values)
    for name in ("loss_train", "loss_validation", "loss_test", "accuracy_test", "feedback_norm"):
        np.testing.assert_allclose(two[name].values, one[name].values, rtol=ROUNDED, atol=ROUNDED, err_msg=name)
    assert (one["loss_train"].isel(epoch=-1) < one["loss_train"].isel(epoch=1)).all()


@needs_gloo
def test_one_of_two_processes_writes_and_tells(studies):
    (one, said_by_one), (two, said_by_two) = studies
    assert two.sizes["run"] == one.sizes["run"] == 4
    assert said_by_two.count("[4/4]") == said_by_one.count("[4/4]") == 1


@needs_gloo
def test_a_batch_that_the_processes_cannot_share_is_refused_in_one_line(tmp_path):
    (tmp_path / "p.toml").write_text(PROTOCOL)
    code, _, erred = run(
        "run", str(tmp_path / "p.toml"), "--set", "train.batch=25", "--out", str(tmp_path / "s"), processes=2
    )
    assert code != 0
    lines = [line for line in erred.splitlines() if line.startswith("rfmodel:")]
    assert len(lines) == 1
    assert "train.batch = 25 cannot be shared by 2 processes; use a multiple, such as 24" in lines[0]
    assert not (tmp_path / "s").exists()


STEP = """
import sys
import torch
import torch.distributed as dist
from rfmodel import parallel
from rfmodel.models import VGG
from rfmodel.routing import Routed
which, store, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
if which < 2:
    dist.init_process_group("gloo", store=dist.FileStore(store, 2), rank=which, world_size=2)
torch.manual_seed(0)
images, labels = torch.randn(8, 3, 16, 16, dtype=torch.double), torch.randint(0, 10, (8,))
network = parallel.synchronise(VGG(width=1 / 32, dropout=0.0).double())
model = parallel.distributed(Routed(network, {"*": "fa"}, images[:2]), torch.device("cpu"))
own = slice(0, 8) if which == 2 else slice(4 * which, 4 * which + 4)
torch.nn.functional.cross_entropy(model(images[own], labels[own]), labels[own]).backward()
found = {name: p.grad for name, p in network.named_parameters()} | dict(network.named_buffers())
torch.save(found, out)
if which < 2:
    dist.barrier()
    dist.destroy_process_group()  # gloo's threads must end before the interpreter does
"""


@needs_gloo
def test_gradients_and_running_statistics_of_two_processes_are_those_of_one(tmp_path):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    outs = [tmp_path / f"{which}.pt" for which in range(3)]
    running = [
        subprocess.Popen([sys.executable, "-c", STEP, str(which), str(tmp_path / "store"), str(out)], env=environment)
        for which, out in enumerate(outs)
    ]
    try:
        assert [process.wait(LIMIT) for process in running] == [0, 0, 0]
    finally:
        for process in running:
            process.kill()
            process.wait()
    first, second, whole = (torch.load(out) for out in outs)
    assert set(first) == set(whole)
    for name in whole:
        torch.testing.assert_close(first[name], second[name], rtol=0, atol=0, msg=name)
        torch.testing.assert_close(first[name], whole[name], rtol=1e-9, atol=1e-12, msg=name)


@pytest.fixture
def split():
    g = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (23, 3, 8, 8), dtype=torch.uint8, generator=g)
    return Split(images, torch.arange(23))


@pytest.mark.parametrize("parts", [2, 3])
def test_shares_are_the_parts_of_the_batches_of_one(split, parts):
    def drawn(share):
        g = torch.Generator().manual_seed(0)
        augmentation = Augmentation(crop=2, flip=True, cutout=3)
        made = batches(split, 6, mean=0.5, std=0.5, generator=g, augmentation=augmentation, share=share)
        return list(made)

    whole, shares = drawn((0, 1)), [drawn((i, parts)) for i in range(parts)]
    for k, (x, y) in enumerate(whole):
        each = len(y) // parts
        assert torch.equal(torch.cat([s[k][0] for s in shares]), x[: each * parts])
        assert torch.equal(torch.cat([s[k][1] for s in shares]), y[: each * parts])


@pytest.mark.parametrize(("kind", "shape"), [(nn.BatchNorm1d, (12, 4)), (nn.BatchNorm2d, (6, 4, 3, 3))])
def test_synchronised_norm_over_one_process_is_batch_norm(kind, shape, monkeypatch):
    torch.manual_seed(0)
    plain, ours = kind(4).double(), kind(4).double()
    ours.__class__ = parallel.NORMS[kind]
    x = torch.randn(shape, dtype=torch.double)
    # two processes that hold the same share are one with the share twice, which has the share's own moments
    monkeypatch.setattr(parallel, "count", lambda: 2)
    monkeypatch.setattr(parallel, "summed", lambda values: 2 * values)
    ours(x)
    plain(torch.cat([x, x]))
    torch.testing.assert_close(ours.running_mean, plain.running_mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours.running_var, plain.running_var, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(ours(x), plain(torch.cat([x, x]))[: len(x)], rtol=1e-12, atol=1e-12)


def test_one_gpu_cannot_be_named_for_several_processes(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with (
        pytest.raises(InputError, match="--device 'cuda:0' is one GPU for 2 processes"),
        parallel.together("cuda:0"),
    ):
        pass
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(InputError, match="2 processes or more were started here for 1 GPUs"), parallel.together("cuda"):
        pass


@pytest.mark.parametrize("told", ["x", "0", "-1"])
def test_a_number_of_processes_that_is_none_is_refused(monkeypatch, told):
    monkeypatch.setenv("WORLD_SIZE", told)
    with pytest.raises(InputError, match=f"WORLD_SIZE = '{told}' is no number of processes"):
        parallel.asked()


def test_processes_without_a_meeting_place_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with (
        pytest.raises(InputError, match="WORLD_SIZE = 2 asks .* but MASTER_ADDR is not set; start them by torchrun"),
        parallel.together("cpu"),
    ):
        pass


def test_every_process_needs_an_image(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "4")
    parallel.check_images(4)
    with pytest.raises(InputError, match="4 processes cannot share 3 training images"):
        parallel.check_images(3)


def test_the_process_that_fails_alone_tells_though_it_is_not_the_first(monkeypatch, capsys):
    def fails(*_):
        with parallel.apart():
            raise InputError("image a.jpg cannot be read")

    monkeypatch.setenv("RANK", "1")
    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit):
        cli.main()
    assert "image a.jpg cannot be read" in capsys.readouterr().err


def test_an_error_is_one_line_whatever_a_file_is_called(monkeypatch, capsys):
    def fails():
        raise InputError("image 'x\ny.jpg' cannot be read")

    monkeypatch.setattr(cli, "app", fails)
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err == "rfmodel: image 'x y.jpg' cannot be read\n"


def test_the_end_of_another_process_is_said_in_one_line(monkeypatch):
    lost = RuntimeError("[/gloo/transport/tcp/pair.cc:534] Connection closed by peer")
    with pytest.raises(RuntimeError, match="Connection closed"), parallel.apart():
        raise lost  # one process has no other
    monkeypatch.setattr(parallel, "count", lambda: 2)
    with pytest.raises(InputError, match="another of the 2 has ended"), parallel.apart():
        raise lost
    with pytest.raises(RuntimeError, match="another matter"), parallel.apart():
        raise RuntimeError("another matter")


def test_the_package_runs_as_a_module():
    assert (Path(parallel.__file__).parent / "__main__.py").is_file()
