"""Downloads over loopback: whole and checked, or nothing at all; and the check of what is there."""

from __future__ import annotations

import dataclasses
import hashlib
import http.server
import os
import socket
import threading

import pytest
from published import archive, write

from rfmodel.datasets import FileCheck, download, load, verify
from rfmodel.datasets import layouts as published_layouts
from rfmodel.datasets.layouts import LAYOUTS
from rfmodel.errors import InputError, MissingData


class Site:
    """A loopback web site with one body, which may promise more bytes than it sends or refuse altogether."""

    def __init__(self) -> None:
        self.body, self.promised, self.status, self.requests = b"", None, 200, 0


@pytest.fixture
def site(monkeypatch):
    state = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests += 1
            self.send_response(state.status)
            if state.promised != -1:
                self.send_header("Content-Length", str(state.promised or len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)

        def log_message(self, *_arguments: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(published_layouts, "PAGE", f"http://127.0.0.1:{server.server_port}/")
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def tiny_archive(site, monkeypatch, tmp_path):
    """The site serves a tiny CIFAR-10 whose MD5 is the one expected."""
    (tmp_path / "site").mkdir()
    site.body = archive(tmp_path / "site", "cifar10", "python").read_bytes()
    first, *others = LAYOUTS["cifar10"]
    expected = dataclasses.replace(first, md5=hashlib.md5(site.body).hexdigest())
    monkeypatch.setitem(LAYOUTS, "cifar10", (expected, *others))
    return site


def test_download_arrives_whole_and_loads(tiny_archive, tmp_path):
    told = []
    path = download("cifar10", tmp_path / "new" / "data", lambda *news: told.append(news))
    assert path.read_bytes() == tiny_archive.body
    assert list(path.parent.iterdir()) == [path]
    size = len(tiny_archive.body)
    assert told[-1] == ("downloading cifar10", size, size)
    assert [done for _, done, _ in told] == sorted(done for _, done, _ in told)
    assert verify("cifar10", path.parent) == [FileCheck("cifar-10-python.tar.gz", size, True)]
    assert len(load("cifar10", folder=path.parent, partial=True).test) == 20


def test_archive_that_is_there_is_not_fetched_again_but_a_damaged_one_is(tiny_archive, tmp_path):
    path = download("cifar10", tmp_path)
    download("cifar10", tmp_path)
    assert tiny_archive.requests == 1
    path.write_bytes(b"damaged")
    assert verify("cifar10", tmp_path) == [FileCheck("cifar-10-python.tar.gz", 7, False)]
    assert download("cifar10", tmp_path).read_bytes() == tiny_archive.body


def test_length_need_not_be_announced(tiny_archive, tmp_path):
    tiny_archive.promised = -1
    told = []
    download("cifar10", tmp_path, lambda *news: told.append(news))
    assert told[-1] == ("downloading cifar10", len(tiny_archive.body), None)


def test_wrong_checksum_is_refused_and_leaves_nothing(site, tmp_path):
    site.body = b"another file"
    found, published = hashlib.md5(site.body).hexdigest(), LAYOUTS["cifar10"][0].md5
    with pytest.raises(InputError, match=f"MD5 {found}, the published archive has {published}"):
        download("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_transfer_that_ends_early_is_refused_and_leaves_what_was_there(tiny_archive, tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"before")
    (size, tiny_archive.promised) = len(tiny_archive.body), len(tiny_archive.body) + 1000
    with pytest.raises(InputError, match=rf"ended after {size} of {size + 1000} bytes"):
        download("cifar10", tmp_path)
    assert (tmp_path / "cifar-10-python.tar.gz").read_bytes() == b"before"
    assert not list(tmp_path.glob("*.part"))


def test_refusal_by_the_server_is_one_line_with_the_way_round(site, tmp_path):
    site.status = 403
    with pytest.raises(InputError, match="cifar100 cannot be fetched from .* by hand would do") as caught:
        download("cifar100", tmp_path)
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_network_is_one_line_with_the_way_round(monkeypatch, tmp_path):
    with socket.socket() as taken:  # bound, but nobody listens: the connection is refused
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr(published_layouts, "PAGE", f"http://127.0.0.1:{taken.getsockname()[1]}/")
        with pytest.raises(InputError, match="the network does not allow it here, and cifar-10-python"):
            download("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_connection_that_breaks_is_one_line(site, monkeypatch, tmp_path):
    def broken(_response, _amount):
        raise ConnectionResetError("connection reset")

    monkeypatch.setattr("http.client.HTTPResponse.read", broken)
    with pytest.raises(InputError, match=r"broke off \(connection reset\)"):
        download("cifar10", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=f"cifar10 cannot be written to {tmp_path / 'file' / 'data'}"):
        download("cifar10", tmp_path / "file" / "data")


def test_full_disk_is_named_and_leaves_nothing(tiny_archive, monkeypatch, tmp_path):
    def full(_source, _target):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr("pathlib.Path.replace", full)
    with pytest.raises(InputError, match=f"cannot be written to {tmp_path} .No space left on device"):
        download("cifar10", tmp_path)
    assert not list(tmp_path.glob("cifar*"))


def test_unknown_name_and_missing_folder_are_refused(monkeypatch):
    with pytest.raises(InputError, match="'cifar1' is unknown: known are cifar10, cifar100"):
        download("cifar1")
    with pytest.raises(InputError, match="'natural_patches' is unknown"):
        verify("natural_patches")
    monkeypatch.delenv("RFMODEL_DATA", raising=False)
    with pytest.raises(MissingData, match="no data folder was given"):
        verify("cifar10")


def test_verify_tells_published_from_altered_and_missing_files(tmp_path):
    inner = write(tmp_path, "cifar10", "python")
    (inner / "data_batch_4").unlink()
    found = {row.file: row for row in verify("cifar10", tmp_path)}
    assert list(found) == [*LAYOUTS["cifar10"][0].train, *LAYOUTS["cifar10"][0].test]
    assert found["data_batch_4"] == FileCheck("data_batch_4", None, None)
    assert found["test_batch"] == FileCheck("test_batch", (inner / "test_batch").stat().st_size, False)


def test_verify_has_no_verdict_where_no_checksum_is_published(tmp_path):
    inner = write(tmp_path, "cifar100", "binary")
    assert verify("cifar100", tmp_path)[0] == FileCheck("train.bin", (inner / "train.bin").stat().st_size, None)
