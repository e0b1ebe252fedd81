"""Data that nobody vouches for: batches, archives and pictures are refused in one line, and nothing in them runs."""

from __future__ import annotations

import os
import shutil
import tarfile

import published
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encoded, flat, smooth, write_folder
from safety.commands import Ended, call
from safety.malformed_files import PICTURES, jpeg, payloads, spoilt

from rfmodel.datasets.layouts import LAYOUTS

QUICK = settings(
    deadline=None, max_examples=25, database=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
PROTOCOL = """
[network]
width = 4
kernel = 3
depth = 1
hidden = 8
bottleneck = 4
[fields]
layers = []
[data]
"""


@pytest.fixture(scope="module")
def cifar(tmp_path_factory):
    """Folders of CIFAR-10 and CIFAR-100 in both layouts, of a few rows, and protocols that read them."""
    folder = tmp_path_factory.mktemp("cifar")
    furnish_cifar(folder)
    return folder


def furnish_cifar(folder):
    """Write the folders and protocols of `cifar`."""
    for name in LAYOUTS:
        for kind in ("python", "binary"):
            published.write(folder / f"{name}-{kind}", name, kind, rows=4)
        (folder / f"{name}.toml").write_text(PROTOCOL + f'name = "{name}"\noptions = {{ partial = true }}\n')


def check(ended: Ended, begun) -> str:
    """Fail unless a command was refused in one line, or came to a training of what is after all data."""
    assert ended.code is None or ended.refused, ended
    shutil.rmtree(begun, ignore_errors=True)
    return "valid" if ended.code is None else "refused"


def check_batch(cifar, name, kind, content):
    """Fail unless a batch with this content is refused by `run`, or is data; `data verify` reads it too."""
    data, layout = cifar / f"{name}-{kind}", published.layout_of(name, kind)
    path = data / layout.folder / next(iter(layout.train))
    before = path.read_bytes()
    try:
        path.write_bytes(content)
        how = check(call("run", cifar / f"{name}.toml", "--data", data, "--out", cifar / "out"), cifar / "out")
        told = call("data", "verify", name, "--data", data)
        assert told.code == 0 or told.refused
    finally:
        path.write_bytes(before)
    assert not (cifar / "canary").exists()
    return how


def drawn(data, cifar, name, kind):
    """Return a data set, its layout, and a spoilt batch of it."""
    layout = published.layout_of(name, kind)
    sane = [(cifar / f"{name}-{kind}" / layout.folder / file).read_bytes() for file in list(layout.train)[:2]]
    return name, kind, data.draw(spoilt(sane, payloads(cifar / "canary")))


kinds = st.tuples(st.sampled_from(list(LAYOUTS)), st.sampled_from(["python", "binary"]))


@given(data=st.data(), which=kinds)
@QUICK
def test_a_malformed_batch_is_refused_in_one_line(cifar, data, which):
    check_batch(cifar, *drawn(data, cifar, *which))


@pytest.mark.slow
@given(data=st.data(), which=kinds)
@settings(QUICK, max_examples=700)
def test_seven_hundred_malformed_batches_are_refused_in_one_line(cifar, data, which):
    check_batch(cifar, *drawn(data, cifar, *which))


def test_a_batch_that_is_a_program_is_never_executed(cifar):
    for content in payloads(cifar / "canary"):
        check_batch(cifar, "cifar10", "python", content)
    sane = (cifar / "cifar10-python" / "cifar-10-batches-py" / "data_batch_2").read_bytes()
    for content in payloads(cifar / "canary"):
        check_batch(cifar, "cifar10", "python", content + sane)


def check_archive(folder, content):
    (folder / "data").mkdir(exist_ok=True)
    (folder / "data" / LAYOUTS["cifar10"][0].archive).write_bytes(content)
    (folder / "a.toml").write_text(PROTOCOL + 'name = "cifar10"\noptions = { partial = true }\n')
    before = sorted(folder.parent.rglob("*"))
    how = check(call("run", folder / "a.toml", "--data", folder / "data", "--out", folder / "out"), folder / "out")
    assert sorted(folder.parent.rglob("*")) == before
    return how


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """A place for archives, and the bytes of sane and of harmful ones."""
    folder = tmp_path_factory.mktemp("archives") / "inner"
    folder.mkdir()
    return folder, made_archives(folder)


def made_archives(folder):
    """Return the bytes of a sane archive and of harmful ones, made in `folder`."""
    found = []
    for number, extra in enumerate(
        [None, "../../../escaped", "/tmp/escaped", "link", "hard", "pipe", "device", "huge"]
    ):
        (folder / str(number)).mkdir()
        member = None if extra is None else tarfile.TarInfo(extra)
        if extra in ("link", "hard", "pipe", "device"):
            member.type = dict(
                link=tarfile.SYMTYPE, hard=tarfile.LNKTYPE, pipe=tarfile.FIFOTYPE, device=tarfile.CHRTYPE
            )[extra]
            member.linkname = "/etc/passwd"
        path = published.archive(folder / str(number), "cifar10", "python", rows=2, extra=member)
        found.append(path.read_bytes())
    return found


@given(data=st.data())
@QUICK
def test_a_malformed_archive_is_refused_in_one_line_and_writes_nothing(archives, data):
    check_archive(archives[0], data.draw(spoilt(archives[1])))


@pytest.mark.slow
@given(data=st.data())
@settings(QUICK, max_examples=200)
def test_two_hundred_malformed_archives_are_refused_in_one_line_and_write_nothing(archives, data):
    check_archive(archives[0], data.draw(spoilt(archives[1])))


def test_an_archive_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("rfmodel.datasets.finding.LARGEST_ARCHIVE", 100_000)
    (tmp_path / "inner").mkdir()
    path = published.archive(tmp_path, "cifar10", "python", rows=10)
    told = None
    (tmp_path / "data").mkdir()
    path.rename(tmp_path / "data" / path.name)
    (tmp_path / "a.toml").write_text(PROTOCOL + 'name = "cifar10"\noptions = { partial = true }\n')
    told = call("run", tmp_path / "a.toml", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert told.refused and "unpacks to more than 100000 bytes" in told.err


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder of pictures of two classes, and a protocol that reads it."""
    folder = tmp_path_factory.mktemp("images")
    furnish_images(folder)
    return folder


def furnish_images(folder):
    """Write the pictures and the protocol of `images`."""
    write_folder(folder / "data", "ant bee", train=3, val=2)
    (folder / "a.toml").write_text(PROTOCOL + 'name = "image_folder"\nsize = 8\n')


SANE = (encoded(smooth(1)), encoded(smooth(2), "PNG"), encoded(smooth(3), progressive=True))
BOMBS = (*PICTURES, *(jpeg(*size, SANE[0]) for size in ((65_535, 65_535), (0, 0), (65_535, 1), (9000, 9000))))


pictures = spoilt(SANE, BOMBS)


def check_picture(images, content):
    path = images / "data" / "train" / "ant" / "001.jpg"
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        how = check(call("run", images / "a.toml", "--data", images / "data", "--out", images / "out"), images / "out")
        assert call("data", "ls", "--data", images / "data").code == 0
    finally:
        path.write_bytes(before)
    return how


@given(content=pictures)
@QUICK
def test_a_malformed_picture_is_refused_in_one_line(images, content):
    check_picture(images, content)


@pytest.mark.slow
@given(content=pictures)
@settings(QUICK, max_examples=400)
def test_four_hundred_malformed_pictures_are_refused_in_one_line(images, content):
    check_picture(images, content)


@pytest.mark.parametrize("content", BOMBS, ids=range(len(BOMBS)))
def test_a_picture_that_announces_another_size_is_refused_or_read(images, content):
    check_picture(images, content)


def a_link_out(folder, name):
    (folder.parent / "secret.jpg").write_bytes(encoded(flat(3)))
    (folder / name).symlink_to(folder.parent / "secret.jpg")


def a_link_to_a_device(folder, name):
    (folder / name).symlink_to("/dev/zero")


def a_pipe(folder, name):
    os.mkfifo(folder / name)


def a_circle(folder, name):
    (folder / name).symlink_to(folder / name)


def a_broken_link(folder, name):
    (folder / name).symlink_to(folder / "nowhere.jpg")


def a_class_elsewhere(folder, name):
    write_folder(folder.parent / "other", "cow", train=1, val=1)
    for part in ("train", "val"):
        (folder / part / "cow").symlink_to(folder.parent / "other" / part / "cow")


AMISS = {
    "a link out": (a_link_out, "leads out of the data folder"),
    "a link to a device": (a_link_to_a_device, "leads out of the data folder"),
    "a pipe": (a_pipe, "is a pipe or device"),
    "a circle of links": (a_circle, "cannot be read"),
    "a broken link": (a_broken_link, "cannot be read"),
    "a class elsewhere": (a_class_elsewhere, "leads out of the data folder"),
}


@pytest.mark.parametrize("what", AMISS)
def test_what_is_no_plain_file_of_the_data_folder_is_refused(tmp_path, what):
    make, message = AMISS[what]
    write_folder(tmp_path / "data", "ant bee", train=3, val=2)
    make(tmp_path / "data", "train/ant/009.jpg")
    (tmp_path / "a.toml").write_text(PROTOCOL + 'name = "image_folder"\nsize = 8\n')
    told = call("run", tmp_path / "a.toml", "--data", tmp_path / "data", "--out", tmp_path / "out")
    assert told.refused and message in told.err
    assert not (tmp_path / "out").exists()


def test_a_link_within_the_data_folder_is_followed(tmp_path):
    write_folder(tmp_path / "data", "ant bee", train=3, val=2)
    (tmp_path / "data" / "train" / "ant" / "009.jpg").symlink_to(tmp_path / "data" / "val" / "ant" / "000.jpg")
    (tmp_path / "linked").symlink_to(tmp_path / "data")  # the user's own, as the data folder is
    (tmp_path / "a.toml").write_text(PROTOCOL + 'name = "image_folder"\nsize = 8\n')
    for data in ("data", "linked"):
        assert call("run", tmp_path / "a.toml", "--data", tmp_path / data, "--out", tmp_path / "out").code is None
        shutil.rmtree(tmp_path / "out")


@pytest.mark.parametrize("name", [b"\xff\xfe.jpg", b"a\x1b]0;owned\x07.jpg", b"a\nb.jpg", b"x" * 250 + b".jpg"])
def test_any_name_of_a_picture_can_be_read_and_told(tmp_path, name):
    write_folder(tmp_path / "data", "ant bee", train=3, val=2)
    path = os.fsencode(tmp_path / "data" / "train" / "ant") + b"/" + name
    (tmp_path / "a.toml").write_text(PROTOCOL + 'name = "image_folder"\nsize = 8\n')
    for content, code in ((encoded(flat(7)), None), (b"none", 2)):
        with open(path, "wb") as file:
            file.write(content)
        told = call("run", tmp_path / "a.toml", "--data", tmp_path / "data", "--out", tmp_path / "out")
        assert told.code == code and (code is None or told.refused)
        assert "\x1b" not in told.out + told.err
