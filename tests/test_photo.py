from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms

from unmorph.errors import PhotoError
from unmorph.photo import WRITABLE, Photo, read, write


@pytest.fixture
def pixels() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


@pytest.fixture
def notes() -> Image.Exif:
    """A camera's EXIF: a name, an orientation, a place, a maker's note."""
    exif = Image.Exif()
    exif[ExifTags.Base.Artist] = "Jane Doe"
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.ISOSpeedRatings: 200, ExifTags.Base.MakerNote: b"face"}
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N"}
    return exif


@pytest.mark.parametrize("suffix", [".png", ".webp", ".tif", ".tiff"])
def test_keeps_every_pixel(tmp_path: Path, pixels: NDArray[np.uint8], suffix: str) -> None:
    write(Photo(pixels), tmp_path / f"photo{suffix}")
    np.testing.assert_array_equal(read(tmp_path / f"photo{suffix}").pixels, pixels)


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg"])
def test_jpeg_stays_close(tmp_path: Path, portrait: NDArray[np.uint8], suffix: str) -> None:
    write(Photo(portrait), tmp_path / f"photo{suffix}")
    change = read(tmp_path / f"photo{suffix}").pixels.astype(int) - portrait
    assert np.square(change).mean() < 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_photos_upright(tmp_path: Path, pixels: NDArray[np.uint8], orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / "phone.png", exif=exif)
    photo = read(tmp_path / "phone.png")
    # EXIF 2.3, table 4: where the stored first row and first column are seen.
    seen = {
        1: pixels,
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: pixels.swapaxes(0, 1)[::-1],
    }[orientation]
    np.testing.assert_array_equal(photo.pixels, seen)
    write(photo, tmp_path / "out.png", keep_exif=True)
    np.testing.assert_array_equal(read(tmp_path / "out.png").pixels, seen)


@pytest.mark.parametrize(
    ("keep_exif", "keep_location"), [(False, False), (True, False), (True, True)]
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_exif_only_as_asked(
    tmp_path: Path,
    pixels: NDArray[np.uint8],
    notes: Image.Exif,
    suffix: str,
    keep_exif: bool,
    keep_location: bool,
) -> None:
    Image.fromarray(pixels).save(tmp_path / "camera.jpg", exif=notes)
    target = tmp_path / f"out{suffix}"
    write(read(tmp_path / "camera.jpg"), target, keep_exif=keep_exif, keep_location=keep_location)
    with Image.open(target) as image:
        exif = image.getexif()
        assert exif.get(ExifTags.Base.Artist) == ("Jane Doe" if keep_exif else None)
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        settings = exif.get_ifd(ExifTags.IFD.Exif)
        assert settings.get(ExifTags.Base.ISOSpeedRatings) == (200 if keep_exif else None)
        assert ExifTags.Base.MakerNote not in settings
        place = exif.get_ifd(ExifTags.IFD.GPSInfo)
        assert place.get(ExifTags.GPS.GPSLatitudeRef) == ("N" if keep_location else None)


def test_damaged_exif_does_not_matter(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fjunk")
    photo = read(tmp_path / "odd.jpg")
    write(photo, tmp_path / "out.png", keep_exif=True)
    assert photo.pixels.shape == pixels.shape


def test_keeps_the_colour_profile(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(pixels).save(tmp_path / "photo.png", icc_profile=profile)
    write(read(tmp_path / "photo.png"), tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as image:
        assert image.info["icc_profile"] == profile


def test_keeps_opacity(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    opacity = np.arange(20 * 30, dtype=np.uint8).reshape(20, 30)
    Image.fromarray(np.dstack([pixels, opacity])).save(tmp_path / "photo.png")
    photo = read(tmp_path / "photo.png")
    np.testing.assert_array_equal(photo.pixels, pixels)
    write(photo, tmp_path / "out.webp")
    again = read(tmp_path / "out.webp")
    assert again.alpha is not None
    np.testing.assert_array_equal(again.alpha, opacity)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "I;16"])
def test_grey_stays_grey(tmp_path: Path, mode: str) -> None:
    levels = np.tile(np.arange(0, 256, 5, dtype=np.uint8), (9, 1))
    if mode == "I;16":
        image = Image.fromarray(levels.astype(np.uint16) * 257)
        assert image.mode == mode
    else:
        image = Image.fromarray(levels).convert(mode)
        levels = np.asarray(image.convert("L"))
    image.save(tmp_path / "grey.png")
    photo = read(tmp_path / "grey.png")
    np.testing.assert_array_equal(photo.pixels, np.repeat(levels[..., None], 3, axis=2))
    write(photo, tmp_path / "out.png")
    with Image.open(tmp_path / "out.png") as out:
        assert out.mode == ("LA" if mode == "LA" else "L")
        np.testing.assert_array_equal(np.asarray(out.getchannel("L")), levels)


def test_palette_and_cmyk_become_rgb(tmp_path: Path, portrait: NDArray[np.uint8]) -> None:
    image = Image.fromarray(portrait)
    image.quantize(16).save(tmp_path / "palette.gif")
    image.convert("CMYK").save(tmp_path / "print.tif", icc_profile=b"a profile of inks")
    for name in ("palette.gif", "print.tif"):
        photo = read(tmp_path / name)
        assert photo.pixels.shape == portrait.shape
        assert not photo.grey
    assert photo.icc_profile is None  # it speaks of inks, the pixels are light


def damaged(pixels: NDArray[np.uint8]) -> dict[str, bytes]:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG")
    whole = file.getvalue()
    return {"cut.jpg": whole[: len(whole) // 2], "text.jpg": b"hello", "empty.png": b""}


@pytest.mark.parametrize("name", ["cut.jpg", "text.jpg", "empty.png"])
def test_damaged_files(tmp_path: Path, portrait: NDArray[np.uint8], name: str) -> None:
    path = tmp_path / name
    path.write_bytes(damaged(portrait)[name])
    with pytest.raises(PhotoError, match=name):
        read(path)


def test_what_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no such file"):
        read(tmp_path / "absent.jpg")
    with pytest.raises(PhotoError, match="a folder"):
        read(tmp_path)


@pytest.mark.parametrize("side", [1_100, 14_000])  # beyond our limit; beyond twice Pillow's too
def test_decompression_bombs(tmp_path: Path, side: int) -> None:
    Image.new("1", (side, side)).save(tmp_path / "bomb.png")
    with pytest.raises(PhotoError, match=r"bomb\.png.*shrink"):
        read(tmp_path / "bomb.png", max_megapixels=1)


def test_a_failed_write_leaves_what_was_there(
    tmp_path: Path, pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "out.png"
    target.write_bytes(b"earlier")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(PhotoError, match=r"out\.png: cannot be written.*No space"):
        write(Photo(pixels), target)
    assert [path.name for path in tmp_path.iterdir()] == ["out.png"]
    assert target.read_bytes() == b"earlier"


def test_unknown_format(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(PhotoError, match=r"choose .*\.png") as caught:
        write(Photo(pixels), tmp_path / "out.xyz")
    assert all(suffix in str(caught.value) for suffix in WRITABLE)


def test_folder_that_is_not_there(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    with pytest.raises(PhotoError, match="cannot be written"):
        write(Photo(pixels), tmp_path / "absent" / "out.png")
