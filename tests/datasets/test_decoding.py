"""Decoding: RGB of every kind of JPEG and PNG, and a reason for every file that is none."""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib

import numpy as np
import pytest
from pictures import encoded, smooth
from PIL import Image

from rfmodel.datasets import decoding
from rfmodel.datasets.decoding import DECODERS, Unreadable, by_pillow, decoder_name, header, read, read_header
from rfmodel.errors import InputError

TORCHVISION = importlib.util.find_spec("torchvision") is not None
needs_torchvision = pytest.mark.skipif(not TORCHVISION, reason="torchvision is not installed")
DECODING = [pytest.param("pillow"), pytest.param("torchvision", marks=needs_torchvision)]


def kinds():
    image = smooth(0)
    return {
        "JPEG": encoded(image),
        "progressive JPEG": encoded(image, progressive=True),
        "grey JPEG": encoded(image.convert("L")),
        "CMYK JPEG": encoded(image.convert("CMYK")),
        "PNG": encoded(image, "PNG"),
        "RGBA PNG": encoded(image.convert("RGBA"), "PNG"),
        "palette PNG": encoded(image.convert("P"), "PNG"),
        "transparent palette PNG": encoded(image.convert("P"), "PNG", transparency=bytes(range(200))),
        "grey PNG": encoded(image.convert("L"), "PNG"),
        "grey and alpha PNG": encoded(image.convert("LA"), "PNG"),
        "black and white PNG": encoded(image.convert("1"), "PNG"),
    }


def announced(width, height):
    """A PNG file that announces a size and holds no pixel."""
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


@pytest.mark.parametrize("decoder", DECODING)
@pytest.mark.parametrize("kind", kinds())
def test_every_kind_becomes_rgb_of_its_own_size(decoder, kind):
    pixels = DECODERS[decoder](kinds()[kind])
    assert pixels.dtype == np.uint8 and pixels.shape == (40, 50, 3) and pixels.flags.c_contiguous


@pytest.mark.parametrize("decoder", DECODING)
def test_lossless_files_keep_every_pixel_and_drop_transparency(decoder):
    image = smooth(1)
    clear = image.copy()
    clear.putalpha(7)
    for content in (encoded(image, "PNG"), encoded(clear, "PNG")):
        assert np.array_equal(DECODERS[decoder](content), np.asarray(image))


@pytest.mark.parametrize("decoder", DECODING)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_keeps_a_smooth_image_nearly(decoder, mode):
    image = smooth(2).convert(mode)
    difference = DECODERS[decoder](encoded(image)).astype(int) - np.asarray(image.convert("RGB"))
    # quality 95 with halved colour resolution, on an image whose smallest structure is 10 pixels
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("decoder", DECODING)
def test_orientation_in_exif_is_ignored(decoder):
    image, exif = smooth(3), Image.Exif()
    exif[0x0112] = 6  # turned by a quarter
    assert np.array_equal(DECODERS[decoder](encoded(image, exif=exif)), DECODERS[decoder](encoded(image)))


@needs_torchvision
@pytest.mark.parametrize("kind", kinds())
def test_decoders_agree_byte_for_byte(kind):
    assert np.array_equal(by_pillow(kinds()[kind]), decoding.by_torchvision(kinds()[kind]))


@pytest.mark.parametrize("decoder", DECODING)
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (kinds()["JPEG"][:-400], "truncated"),
        (kinds()["PNG"][:-300], "truncated|corrupted"),
        (b"", "empty"),
        (b"GIF89a" + bytes(50), "neither JPEG nor PNG"),
        (b"\xff\xd8\xff" + b"no image" * 9, "header: "),
        (kinds()["JPEG"][:15], "header: "),
        (announced(20_000, 20_000), f"20000 x 20000 pixels, more than Pillow's guard of {Image.MAX_IMAGE_PIXELS}"),
        (encoded(Image.fromarray(np.zeros((5, 5), np.uint16)), "PNG"), "mode I;16, more than 8 bits a channel"),
    ],
)
def test_what_is_no_image_has_a_reason_of_one_line(decoder, content, reason):
    with pytest.raises(Unreadable, match=reason) as caught:
        DECODERS[decoder](content)
    assert "\n" not in str(caught.value)


def test_header_decodes_nothing():
    # a truncated file still announces its size
    assert header(io.BytesIO(kinds()["JPEG"][:-400])).size == (50, 40)


def test_every_damaged_byte_gives_pixels_or_a_reason():
    content = bytearray(encoded(smooth(4, 16, 16), "PNG"))
    for place in range(len(content)):
        damaged = bytes(content[:place]) + bytes([content[place] ^ 0x55]) + bytes(content[place + 1 :])
        try:
            assert by_pillow(damaged).dtype == np.uint8
        except Unreadable as error:
            assert "\n" not in str(error)


def test_a_file_that_cannot_be_read_has_a_reason(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in (("gone.jpg", "No such file"), ("folder.jpg", "Is a directory")):
        with pytest.raises(Unreadable, match=reason):
            read(tmp_path / name, by_pillow)
        with pytest.raises(Unreadable, match=reason):
            read_header(tmp_path / name)


def test_torchvision_decodes_where_it_is_installed_and_is_refused_where_it_is_not(monkeypatch):
    assert decoder_name("pillow") == "pillow"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    assert decoder_name("auto") == decoder_name("torchvision") == "torchvision"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert decoder_name("auto") == "pillow"
    with pytest.raises(InputError, match=r"decoder='torchvision' .*not installed: `pip install rfmodel\[vision\]`"):
        decoder_name("torchvision")
    with pytest.raises(InputError, match="decoder 'pil' is unknown: known are auto, pillow, torchvision"):
        decoder_name("pil")
