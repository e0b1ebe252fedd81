"""The unpickler admits plain data and refuses everything else by name, before it is called."""

from __future__ import annotations

import builtins
import collections
import os
import pickle

import numpy as np
import pytest

from rfmodel.datasets.restricted_pickle import RefusedPickle, read_record


class Calls:
    """Pickles as a call of `function`, as an attacker would write it."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.function, self.arguments


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4])
def test_plain_data_comes_back_as_it_was_written(protocol):
    record = {
        "data": np.arange(12, dtype=np.uint8).reshape(3, 4),
        "labels": [1, 2, 3],
        "name": "batch",
        "raw": b"\x00\xff",
        "nested": {"a": [1.5, None, True, (2, "b")]},
    }
    back = read_record(pickle.dumps(record, protocol=protocol))
    assert np.array_equal(back.pop("data"), record.pop("data"))
    assert back == record


@pytest.mark.parametrize("kind", ["?", "i1", "<u2", ">u2", "<i8", ">i4", "<f4", ">f8"])
def test_number_types_and_byte_orders_are_kept(kind):
    array = np.array([[0, 1], [1, 0], [1, 1]]).astype(kind)
    for layout in ("C", "F"):
        back = read_record(pickle.dumps({"a": np.array(array, order=layout)}, protocol=2))["a"]
        assert back.dtype == array.dtype
        assert np.array_equal(back, array)


def test_record_written_by_python_2_has_text_keys_and_byte_strings():
    # protocol 2, BINSTRING: {'labels': [3], 'batch_label': 'one'}
    content = b"\x80\x02}(U\x06labels]K\x03aU\x0bbatch_labelU\x03oneu."
    assert read_record(content) == {"labels": [3], "batch_label": b"one"}


@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize(
    ("function", "arguments", "name"),
    [
        (os.system, ("touch {}",), r"(posix|nt)\.system"),
        (builtins.eval, ("open({!r}, 'w')",), r"(__builtin__|builtins)\.eval"),
        (builtins.getattr, (os, "system"), r"(__builtin__|builtins)\.getattr|module"),
        (collections.OrderedDict, (), r"collections\.OrderedDict"),
        (np.load, ("{}",), r"numpy\.load"),
    ],
    ids=["os.system", "eval", "getattr", "OrderedDict", "numpy.load"],
)
def test_any_other_name_is_refused_by_name_and_never_called(tmp_path, protocol, function, arguments, name):
    if function is builtins.getattr:
        arguments = ("text", "upper")
    trace = tmp_path / "trace"
    arguments = tuple(text.format(str(trace)) for text in arguments)
    for record in ({"data": Calls(function, *arguments)}, {"a": [{"b": (Calls(function, *arguments),)}]}):
        with pytest.raises(RefusedPickle, match=name):
            read_record(pickle.dumps(record, protocol=protocol))
    assert not trace.exists()


def test_dotted_name_below_an_admitted_one_is_refused():
    # protocol 4 resolves dotted names: numpy 'dtype.__class__' must not be taken for numpy.dtype
    with pytest.raises(RefusedPickle, match=r"numpy\.dtype\.__class__"):
        read_record(b"\x80\x04\x8c\x05numpy\x8c\x0fdtype.__class__\x93.")


def test_admitted_names_cannot_be_altered():
    # GLOBAL numpy dtype, then BUILD with a dict: would set attributes on whatever the name stands for
    with pytest.raises(RefusedPickle, match="changes to an admitted name"):
        read_record(b"\x80\x02cnumpy\ndtype\n}U\x05_callK\x01sb.")


def test_empty_bytes_and_arrays_are_plain_data_and_bytes_makes_nothing_else():
    record = read_record(pickle.dumps({"raw": b"", "data": np.zeros((0, 4), np.uint8)}, protocol=2))
    assert record["raw"] == b"" and record["data"].shape == (0, 4)
    with pytest.raises(RefusedPickle, match="TypeError"):  # bytes(10 ** 9) would take the memory
        read_record(b"\x80\x02c__builtin__\nbytes\nJ\x00\xca\x9a\x3b\x85R.")


def test_refusal_is_one_short_line_whatever_the_file_calls_things():
    name = b"two\nlines" + b"x" * 1000
    content = b"\x80\x04X" + len(name).to_bytes(4, "little") + name + b"\x8c\x01y\x93."
    with pytest.raises(RefusedPickle, match=r"two\\nlinesx+") as caught:
        read_record(content)
    assert "\n" not in str(caught.value) and len(str(caught.value)) <= 200


def test_numpy_ndarray_is_not_callable():
    with pytest.raises(RefusedPickle, match=r"a call of numpy\.ndarray"):
        read_record(b"\x80\x02cnumpy\nndarray\nK\x03\x85R.")


def test_encoding_other_than_latin1_is_refused():
    with pytest.raises(RefusedPickle, match="encoding 'rot13'"):
        read_record(b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x05\x00\x00\x00rot13\x86R.")


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.array([None, "a"], object), "type 'O8'"),
        (np.array(["a"]), "type 'U1'"),
        (np.zeros(2, [("x", "i4")]), "type 'V4'"),
        (np.array(["2020-01-01"], "M8[D]"), "type 'M8'"),
    ],
    ids=["object", "text", "record", "date"],
)
def test_arrays_of_anything_but_numbers_are_refused(array, message):
    with pytest.raises(RefusedPickle, match=message):
        read_record(pickle.dumps({"data": array}, protocol=2))


def test_array_with_fewer_bytes_than_its_shape_needs_is_refused():
    whole = pickle.dumps({"data": np.zeros((2, 5), np.uint8)}, protocol=2)
    # the shape is written as two one-byte numbers and a pair: K 2 K 5 TUPLE2
    forged = whole.replace(b"K\x02K\x05\x86", b"K\x02K\x06\x86")
    assert forged != whole
    with pytest.raises(RefusedPickle, match=r"shape \(2, 6\) with 10 bytes where 12 are expected"):
        read_record(forged)


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_truncated_pickle_is_refused_at_any_length(cut):
    whole = pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]}, protocol=2)
    with pytest.raises(RefusedPickle, match="no complete pickle"):
        read_record(whole[:cut])


def test_damaged_bytes_raise_nothing_but_a_refusal():
    whole = pickle.dumps({"data": np.zeros((2, 5), np.uint8), "labels": [0, 1]}, protocol=2)
    draw = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[draw.integers(len(whole))] = draw.integers(256)
        try:
            read_record(bytes(damaged))
        except RefusedPickle:
            continue


def test_array_that_was_never_filled_is_refused():
    content = b"\x80\x02}U\x04datacnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87Rs."
    with pytest.raises(RefusedPickle, match="no complete pickle"):
        read_record(content)


def test_pickle_of_something_else_than_a_dict_is_refused():
    with pytest.raises(RefusedPickle, match="a pickle of list"):
        read_record(pickle.dumps([1, 2]))
