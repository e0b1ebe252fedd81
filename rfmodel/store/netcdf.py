"""Reading NetCDF files that nobody vouches for: plain arrays and words, and nothing that reaches beyond the file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from rfmodel.errors import InputError
from rfmodel.store.images import Unfit, checked_image, image_of
from rfmodel.store.wording import one_line

LARGEST, RATIO = 2**30, 64  # bytes that any file may unpack to, and how many times its size a larger one may
DEFLATED = 1100  # no file that deflate packed is larger than this many times what it takes
FILTERS = (h5py.h5z.FILTER_DEFLATE, h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32)
# How NetCDF writes dimensions; the rest of a file's attributes are the user's.
FORMAT = ("CLASS", "NAME", "DIMENSION_LIST", "REFERENCE_LIST", "DIMENSION_LABELS", "_FillValue", "_NCProperties")
FORMAT += ("_Netcdf4Dimid", "_Netcdf4Coordinates", "_nc3_strict")
NO_VARIABLE = b"This is a netCDF dimension but not a netCDF variable"


@dataclass
class Content:
    """What a NetCDF file says: (dimensions, values, attributes) by variable, which are coordinates, and attributes."""

    variables: dict[str, tuple[tuple[str, ...], np.ndarray, dict]]
    coordinates: tuple[str, ...]
    attrs: dict


@contextmanager
def opened(path: Path, image: bytes | None = None) -> Iterator[tuple[h5py.h5g.GroupID, int]]:
    """Open a NetCDF file, its root group and size; what goes wrong while it is open is one line that names it.

    Parameters
    ----------
    path : Path
    image : bytes, optional
        The file's bytes, where they were read already.

    Raises
    ------
    InputError
        The message names the file.
    """
    file = None
    try:
        image = image_of(path) if image is None else checked_image(image)
        file = h5py.File(h5py.h5f.open_file_image(image))
        yield h5py.h5o.open(file.id, b"/"), len(image)
    except InputError:
        raise
    except Exception as error:  # a damaged file raises whatever its bytes spell
        raise unreadable(path, error) from None
    finally:
        with suppress(Exception):  # what is wrong with it was said
            if file is not None:
                file.close()


def unreadable(path: Path, error: Exception) -> InputError:
    """Return the refusal of a file that cannot be read."""
    told = one_line(str(error).replace(str(path), "it"), 200)
    reason = told if isinstance(error, Unfit) else f"{type(error).__name__}: {told}".rstrip(": ")
    where = one_line(path, 4096)
    return InputError(f"run file '{where}' cannot be read ({reason}); move it away and run the protocol again")


def attributes(place: h5py.h5g.GroupID | h5py.h5d.DatasetID, largest: int) -> dict:
    """Return an object's attributes but those of the format: words, lists of words, NumPy scalars and arrays.

    Parameters
    ----------
    place : GroupID or DatasetID
        As of `opened`.
    largest : int
        Bytes that one of them may take: the file's size.

    Raises
    ------
    Unfit
        If one is neither words nor numbers, or larger.
    """
    found: list[bytes] = []
    h5py.h5a.iterate(place, lambda name, *_: found.append(name), index_type=_order(place))
    return {text: _attribute(place, name, largest) for name in found if (text := name.decode()) not in FORMAT}


def _order(place: h5py.h5g.GroupID | h5py.h5d.DatasetID) -> int:
    tracked = place.get_create_plist().get_attr_creation_order() & h5py.h5p.CRT_ORDER_TRACKED
    return h5py.h5.INDEX_CRT_ORDER if tracked else h5py.h5.INDEX_NAME


def _attribute(place: h5py.h5g.GroupID | h5py.h5d.DatasetID, name: bytes, largest: int) -> object:
    attribute = h5py.h5a.open(place, name)
    kind, shape = attribute.get_type(), attribute.shape
    if attribute.get_space().get_simple_extent_type() == h5py.h5s.NULL:
        if isinstance(kind, h5py.h5t.TypeStringID):
            return ""
        raise Unfit(f"attribute '{name.decode()}' has no value")
    if kind.get_size() * math.prod(shape) > largest:
        raise Unfit(f"attribute '{name.decode()}' is larger than the file")
    if isinstance(kind, h5py.h5t.TypeStringID):
        if kind.is_variable_str() and math.prod(shape) * largest > LARGEST and math.prod(shape) > 1:
            raise Unfit(f"attribute '{name.decode()}' has {math.prod(shape)} strings")
        held = np.empty(shape, attribute.dtype)
        attribute.read(held)
        words = [_text(word) for word in held.ravel().tolist()]
        return words[0] if len(words) == 1 else words
    held = np.empty(shape, _number(kind, name))
    attribute.read(held)
    return held.ravel()[0] if held.size == 1 else held


def _text(word: bytes | str) -> str:
    text = word.decode() if isinstance(word, bytes) else word
    text.encode()  # what was no UTF-8 cannot go back
    return text


def _number(kind: h5py.h5t.TypeID, name: bytes) -> np.dtype:
    if not isinstance(kind, h5py.h5t.TypeIntegerID | h5py.h5t.TypeFloatID):
        raise Unfit(f"'{name.decode()}' is neither numbers nor words")
    if (dtype := kind.dtype).kind not in "iuf" or dtype.itemsize > 8:
        raise Unfit(f"'{name.decode()}' holds numbers of a kind that no run has")
    return dtype.newbyteorder("=")


def read(path: Path, image: bytes | None = None) -> Content:
    """Return what a NetCDF file says.

    Nothing outside of the file is followed, nothing is read that unpacks to far more than its size, and words are
    words: links, virtual and external data, references and opaque types are refused.

    Parameters
    ----------
    path : Path
    image : bytes, optional
        The file's bytes, where they were read already.

    Raises
    ------
    InputError
        The message names the file.
    """
    with opened(path, image) as (root, size):
        places = _datasets(root, size)
        scales = _scales(places)
        variables, named = {}, _words(attrs := attributes(root, size), "coordinates")
        for name, place in places.items():
            if h5py.h5ds.is_scale(place) and h5py.h5ds.get_scale_name(place).startswith(NO_VARIABLE):
                continue
            dims = _dims(place, name, scales, places)
            own = attributes(place, size)
            named |= _words(own, "coordinates")
            variables[name] = (dims, _values(place, name, own, size), own)
        coordinates = tuple(n for n, (dims, *_) in variables.items() if n in named or dims == (n,))
        return Content(variables, coordinates, attrs)


def _words(attrs: dict, key: str) -> set[str]:
    """Take an attribute of names out, and return the names."""
    held = attrs.pop(key, "")
    return set(held.split()) if isinstance(held, str) else set()


def _datasets(root: h5py.h5g.GroupID, size: int) -> dict[str, h5py.h5d.DatasetID]:
    """Return the file's data by name, in its order, once each is seen to lie in the file and to fit in memory."""
    found, declared = {}, 0
    for name in root:
        text = name.decode()
        if root.links.get_info(name).type != h5py.h5l.TYPE_HARD:
            raise Unfit(f"'{text}' is a link to elsewhere")
        place = h5py.h5o.open(root, name)
        if not isinstance(place, h5py.h5d.DatasetID):
            raise Unfit(f"'{text}' is no array")
        if not isinstance(place.get_type(), h5py.h5t.TypeStringID):
            _number(place.get_type(), name)
        plan = place.get_create_plist()
        if plan.get_layout() == h5py.h5d.VIRTUAL or plan.get_external_count():
            raise Unfit(f"the values of '{text}' lie in another file")
        if any(plan.get_filter(i)[0] not in FILTERS for i in range(plan.get_nfilters())):
            raise Unfit(f"'{text}' is packed by a filter that no run uses")
        declared += place.get_type().get_size() * math.prod(place.shape)
        if plan.get_layout() == h5py.h5d.CHUNKED:
            declared += place.get_type().get_size() * math.prod(plan.get_chunk())
        found[text] = place
    if declared > min(DEFLATED * size, max(LARGEST, RATIO * size)):
        raise Unfit(f"it says that {size} bytes hold {declared}")
    return found


def _scales(places: dict[str, h5py.h5d.DatasetID]) -> dict[int, str]:
    """Return the names of dimensions by NetCDF's number of them."""
    return {
        int(_attribute(place, b"_Netcdf4Dimid", 64)): name
        for name, place in places.items()
        if h5py.h5ds.is_scale(place) and h5py.h5a.exists(place, b"_Netcdf4Dimid")
    }


def _dims(
    place: h5py.h5d.DatasetID, name: str, scales: dict[int, str], places: dict[str, h5py.h5d.DatasetID]
) -> tuple[str, ...]:
    shape = place.shape
    if name in scales.values() and len(shape) == 1:
        return (name,)
    if h5py.h5a.exists(place, b"_Netcdf4Coordinates"):
        dims = tuple(scales[int(i)] for i in np.atleast_1d(_attribute(place, b"_Netcdf4Coordinates", 1024)))
    else:  # as other writers of NetCDF leave it
        dims = tuple(_attached(place, axis) for axis in range(len(shape)))
    if tuple(places[dim].shape[0] for dim in dims) != shape or len(set(dims)) != len(dims):
        raise Unfit(f"'{name}' has not the shape of its dimensions")
    return dims


def _attached(place: h5py.h5d.DatasetID, axis: int) -> str:
    held = h5py.Dataset(place)
    if not h5py.h5ds.get_num_scales(place, axis):
        raise Unfit(f"'{held.name.lstrip('/')}' has no dimensions")
    return held.dims[axis][0].name.lstrip("/")


def _values(place: h5py.h5d.DatasetID, name: str, attrs: dict, size: int) -> np.ndarray:
    if isinstance(place.get_type(), h5py.h5t.TypeStringID):
        return _strings(h5py.Dataset(place), size)
    values = np.empty(place.shape, _number(place.get_type(), name.encode()))
    if values.size:
        place.read(h5py.h5s.ALL, h5py.h5s.ALL, values)
    if attrs.get("dtype") == "bool" and values.dtype.kind in "iu":
        del attrs["dtype"]
        if not np.isin(values, (0, 1)).all():
            raise Unfit(f"'{name}' is of yes and no, and holds other numbers")
        return values.astype(bool)
    if {"scale_factor", "add_offset"} & set(attrs):
        raise Unfit(f"'{name}' is packed as no run is")
    return values


def _strings(place: h5py.Dataset, size: int) -> np.ndarray:
    """Return words, read so few at a time that one long word that all of them name fills no memory."""
    count, block = math.prod(place.shape), max(1, LARGEST // max(size, 1))
    words: list[str] = []
    if count <= block:
        words = [_text(word) for word in np.ravel(place[()]).tolist()] if count else []
    else:
        for lead in np.ndindex(place.shape[:-1]):
            for start in range(0, place.shape[-1], block):
                words += [_text(word) for word in place[(*lead, slice(start, start + block))].tolist()]
                if 4 * count * max(map(len, words[-block:]), default=0) > max(LARGEST, RATIO * size):
                    raise Unfit(f"its {size} bytes hold {count} words that are too long")
    if 4 * count * max(map(len, words), default=0) > max(LARGEST, RATIO * size):
        raise Unfit(f"its {size} bytes hold {count} words that are too long")
    return np.asarray(words, dtype=str).reshape(place.shape)
