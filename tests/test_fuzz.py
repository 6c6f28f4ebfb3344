"""Damaged files at random: each gives a photo or a PhotoError, soon and in little memory.

``UNMORPH_FUZZ=5000 pytest -m fuzz`` tries so many of each format instead of a small share.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, features

from unmorph import batch
from unmorph.errors import PhotoError
from unmorph.photo import FORMATS, Photo, decode, encode
from unmorph.protector import Protector

pytestmark = [
    pytest.mark.fuzz,
    pytest.mark.filterwarnings("ignore::UserWarning"),  # of odd metadata, as for everyone
    pytest.mark.skipif(not hasattr(signal, "SIGPROF"), reason="needs a timer of this process"),
]

COUNT = int(os.environ.get("UNMORPH_FUZZ", "10"))

#: Seconds of computing that one file may take, a photo's limit, and what memory may grow by.
SECONDS, MEGAPIXELS, MEGABYTES = 10, 4, 600


class Hang(BaseException):
    """Not an exception, so that nothing on the way takes it for damage."""


@contextmanager
def at_most(seconds: int) -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise Hang(f"over {seconds} seconds")

    before = signal.signal(signal.SIGPROF, ring)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def memory() -> float:
    """Return the most memory that this process has held so far, in megabytes."""
    import resource

    held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return held / (1e6 if sys.platform == "darwin" else 1e3)


def whole(form: str, portrait: NDArray[np.uint8]) -> bytes:
    """Return a small photo with everything that a file can have."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Jane Doe"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 200}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    pixels = np.ascontiguousarray(portrait[20:276:2, 128:384:2])
    if form in FORMATS:
        alpha = None if form == "jpeg" else pixels[..., 0]
        photo = Photo(pixels, alpha, icc_profile=profile, exif=exif)
        return encode(photo, form, keep_metadata=True, keep_location=True)
    file = io.BytesIO()
    image = Image.fromarray(pixels)
    if form == "cmyk":
        image.convert("CMYK").save(file, "JPEG", icc_profile=profile, exif=exif.tobytes())
    else:
        image.quantize(32).save(file, form)
    return file.getvalue()


def damaged(data: bytes, random: np.random.Generator) -> bytes:
    """Return the bytes with a few of five kinds of damage, most of it near the beginning."""
    result = bytearray(data)
    for _ in range(random.integers(1, 6)):
        limit = len(result) if random.random() < 0.4 else min(len(result), 400)
        place = int(random.integers(0, max(limit, 1)))
        length = int(random.integers(1, 9))
        match random.integers(0, 5):
            case 0:
                result[place : place + length] = random.bytes(len(result[place : place + length]))
            case 1:
                result[place : place + length] = bytes([random.choice([0, 127, 128, 255])]) * length
            case 2:
                del result[place : place + length]
            case 3:
                result[place:place] = result[:length]
            case _ if random.random() < 0.3:
                del result[place:]
    return bytes(result)


def needs(form: str) -> None:
    if form == "heic":
        pytest.importorskip("pillow_heif")
    if form == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")


@pytest.mark.parametrize("form", [*FORMATS, "bmp", "gif", "cmyk"])
def test_damaged_files(form: str, portrait: NDArray[np.uint8], protector: Protector) -> None:
    needs(form)
    data = whole(form, portrait)
    assert batch.protect_photo(protector, decode(data, "whole"), "whole", batch.Settings(), "png")[
        0
    ]
    random = np.random.default_rng(20_000)
    before, readable = memory(), 0
    settings = batch.Settings(keep_metadata=True)
    for number in range(COUNT):
        sample = damaged(data, random)
        message = ""
        try:
            with at_most(SECONDS):
                photo = decode(sample, "damaged", max_megapixels=MEGAPIXELS)
                batch.protect_photo(protector, photo, "damaged", settings, photo.format)
        except PhotoError as error:
            message = str(error)
        readable += not message
        assert "\n" not in message, number
    assert memory() - before < MEGABYTES
    assert readable < COUNT, "nothing was damaged"
