from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, features

from unmorph import photo as module
from unmorph.errors import ConfigError, PhotoError
from unmorph.photo import FORMATS, READABLE, WRITABLE, Photo, decode, encode, read, write


def needs(form: str) -> None:
    """Skip where this Pillow cannot write a format."""
    if form.endswith("heic"):
        pytest.importorskip("pillow_heif")
    if form.endswith("avif") and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")


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


@pytest.mark.parametrize("suffix", [".jpg", ".jpeg", ".avif", ".heic"])
def test_others_stay_close(tmp_path: Path, portrait: NDArray[np.uint8], suffix: str) -> None:
    needs(suffix)
    small = np.ascontiguousarray(portrait[:256, 128:384])
    write(Photo(small), tmp_path / f"photo{suffix}")
    photo = read(tmp_path / f"photo{suffix}")
    assert np.square(photo.pixels.astype(int) - small).mean() < 4
    assert photo.format == WRITABLE[suffix]


@pytest.mark.parametrize("form", ["jpeg", "avif", "heic", "webp"])
def test_quality_makes_smaller_files(portrait: NDArray[np.uint8], form: str) -> None:
    needs(form)
    photo = Photo(np.ascontiguousarray(portrait[::2, ::2]))
    assert len(encode(photo, form, quality=30)) < len(encode(photo, form)) / 2


@pytest.mark.parametrize("form", ["png", "tiff"])
def test_quality_means_nothing_without_loss(pixels: NDArray[np.uint8], form: str) -> None:
    photo = decode(encode(Photo(pixels), form, quality=30), "photo")
    np.testing.assert_array_equal(photo.pixels, pixels)


@pytest.mark.parametrize("form", FORMATS)
def test_bytes_tell_their_format(pixels: NDArray[np.uint8], form: str) -> None:
    needs(form)
    assert decode(encode(Photo(pixels), form), "photo").format == form


@pytest.mark.parametrize(
    ("suffix", "form"),
    [
        ("jfif", "JPEG"),
        ("jif", "JPEG"),
        ("jpe", "JPEG"),
        ("mpo", "MPO"),
        ("apng", "PNG"),
        ("pbm", "PPM"),
        ("pgm", "PPM"),
        ("pnm", "PPM"),
        ("ppm", "PPM"),
        ("bmp", "BMP"),
        ("gif", "GIF"),
    ],
)
def test_what_is_taken_for_a_photo_is_read(tmp_path: Path, suffix: str, form: str) -> None:
    path = tmp_path / f"photo.{suffix}"
    mode = {"pbm": "1", "pgm": "L"}.get(suffix, "RGB")
    image = Image.new("RGB", (20, 10), "white").convert(mode)
    frames = {"save_all": True, "append_images": [Image.new("RGB", (20, 10))]}
    image.save(path, form, **(frames if suffix in ("mpo", "apng") else {}))
    assert path.suffix in READABLE
    assert (read(path).pixels == 255).all()


def test_heic_without_its_package(
    pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("heic")
    data = encode(Photo(pixels), "heic")
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(PhotoError, match=r'a\.heic: .*pip install "unmorph\[heic\]"'):
        decode(data, "a.heic")
    with pytest.raises(PhotoError, match=r"pip install"):
        encode(Photo(pixels), "heic")


def test_what_avif_and_heic_share(
    pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    needs("avif")
    data = encode(Photo(pixels), "avif")
    either = data[:8] + b"mif1" + data[12:]
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    assert decode(either, "a.avif").pixels.shape == pixels.shape
    with pytest.raises(PhotoError, match=r'a\.heic: .*pip install "unmorph\[heic\]"'):
        decode(data[:8] + b"mif1" + bytes(40), "a.heic")


def test_upright_heic(tmp_path: Path, portrait: NDArray[np.uint8]) -> None:
    needs("heic")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    lying = np.ascontiguousarray(portrait[:64, :128].swapaxes(0, 1)[::-1])
    module._learn_heic()
    Image.fromarray(lying).save(tmp_path / "phone.heic", exif=exif.tobytes(), quality=95)
    seen = read(tmp_path / "phone.heic").pixels
    assert seen.shape == (64, 128, 3)
    assert np.square(seen.astype(int) - portrait[:64, :128]).mean() < 30


def png16(pixels: NDArray[np.uint16], kind: int = 2) -> bytes:
    """Return a PNG with 16 bits a colour, which Pillow cannot write (PNG 3rd ed., section 11).

    Args:
        kind: of colour: 2 for three of them, 4 for grey with opacity.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        whole = kind + data
        return struct.pack(">I", len(data)) + whole + struct.pack(">I", zlib.crc32(whole))

    header = struct.pack(">IIBBBBB", pixels.shape[1], pixels.shape[0], 16, kind, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_16_bits_become_8(pixels: NDArray[np.uint8]) -> None:
    photo = decode(png16(pixels.astype(np.uint16) * 256 + 77), "deep.png")
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert photo.losses == ("8 of 16 bits",)
    assert decode(encode(photo, "png"), "flat.png").losses == ()


def test_deep_grey_with_opacity_stays_grey(pixels: NDArray[np.uint8]) -> None:
    deep = np.stack([pixels[..., 0], 255 - pixels[..., 1]], axis=2).astype(np.uint16) * 257
    photo = decode(png16(deep, 4), "deep.png")
    assert photo.grey
    with Image.open(io.BytesIO(encode(photo, "png"))) as out:
        assert out.mode == "LA"
        np.testing.assert_array_equal(np.asarray(out), deep >> 8)


def test_opacity_that_is_multiplied_in(tmp_path: Path) -> None:
    levels = np.array([[200, 100, 60]], np.uint8)
    Image.merge("LA", [Image.fromarray(levels), Image.new("L", (3, 1), 255)]).save(
        tmp_path / "a.tif"
    )
    data = (tmp_path / "a.tif").read_bytes()
    entry = data.find(struct.pack("<HHI", 338, 3, 1))  # ExtraSamples, TIFF 6.0 section 18
    assert data[entry + 8] == 2
    photo = decode(data[: entry + 8] + b"\1" + data[entry + 9 :], "a.tif")
    assert photo.grey
    np.testing.assert_array_equal(photo.pixels[..., 0], levels)


def test_16_bits_a_pixel_are_no_loss() -> None:
    head = b"BM" + struct.pack("<IHHI", 74, 0, 0, 70)
    size = struct.pack("<IiiHHIIiiII", 56, 2, 1, 1, 16, 3, 4, 0, 0, 0, 0)
    masks = struct.pack("<IIII", 0xF800, 0x07E0, 0x001F, 0)
    photo = decode(head + size + masks + struct.pack("<HH", 0xF800, 0x07E0), "old.bmp")
    np.testing.assert_array_equal(photo.pixels, [[[255, 0, 0], [0, 255, 0]]])
    assert photo.losses == ()


def test_depth_is_told(pixels: NDArray[np.uint8]) -> None:
    size = f"{pixels.shape[1]} {pixels.shape[0]}".encode()
    deep = (pixels.astype(np.uint16) * 257).astype(">u2")
    photo = decode(b"P6\n" + size + b"\n65535\n" + deep.tobytes(), "deep.ppm")
    np.testing.assert_array_equal(photo.pixels, pixels)
    assert photo.losses == ("8 of 16 bits",)
    grey = decode(
        b"P5\n" + size + b"\n1023\n" + (deep[..., 0] >> 6).astype(">u2").tobytes(), "grey.pgm"
    )
    np.testing.assert_allclose(grey.pixels[..., 0], pixels[..., 0], atol=1)
    assert grey.losses == ("8 of 10 bits",)
    flat = decode(b"P6\n" + size + b"\n255\n" + pixels.tobytes(), "flat.ppm")
    plain = decode(b"P3\n1 1\n255\n9 8 7\n", "plain.ppm")
    bits = decode(b"P1\n2 1\n0 1\n", "bits.pbm")
    assert flat.losses == plain.losses == bits.losses == ()


def test_depth_of_heic(pixels: NDArray[np.uint8]) -> None:
    heif = pytest.importorskip("pillow_heif")
    deep = np.tile(pixels, (4, 4, 1)).astype(np.uint16) << 8
    size = (deep.shape[1], deep.shape[0])
    file = io.BytesIO()
    heif.from_bytes(mode="RGB;16", size=size, data=deep.tobytes()).save(file)
    assert decode(file.getvalue(), "deep.heic").losses == ("8 of 10 bits",)
    assert decode(encode(Photo(pixels), "heic"), "flat.heic").losses == ()


def test_grey_of_12_bits(tmp_path: Path) -> None:
    packed = bytes([0x12, 0x34, 0x56, 0x78, 0x9A, 0xBC])  # 123 456 789 ABC, TIFF 6.0, page 29
    Image.fromarray(np.zeros((1, 4), np.uint16)).save(tmp_path / "a.tif")
    data = bytearray((tmp_path / "a.tif").read_bytes())
    for tag, kind, value in ((258, 3, 12), (279, 4, len(packed))):  # bits; bytes in the strip
        entry = data.find(struct.pack("<HHI", tag, kind, 1))
        data[entry + 8 : entry + 12] = struct.pack("<I", value)
    photo = decode(bytes(data[:-8]) + packed, "a.tif")
    assert photo.pixels[0, :, 0].tolist() == [0x12, 0x45, 0x78, 0xAB]
    assert photo.losses == ("8 of 12 bits",)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_numbers_without_a_range(tmp_path: Path, kind: type) -> None:
    Image.fromarray(np.ones((9, 9), kind)).save(tmp_path / "map.tif")
    with pytest.raises(PhotoError, match=r"map\.tif: .* save it with 8 or 16 bits"):
        read(tmp_path / "map.tif")


def test_a_preview_is_no_photo(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    # As in a raw photo, whose first picture is small (DNG 1.4, NewSubFileType and DNGVersion).
    tags = {254: 1, 50706: b"\1\4\0\0"}
    Image.fromarray(pixels).save(tmp_path / "raw.tif", tiffinfo=tags)
    with pytest.raises(PhotoError, match=r"raw\.tif: .*develop it first"):
        read(tmp_path / "raw.tif")


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".tif"])
def test_first_frame(tmp_path: Path, pixels: NDArray[np.uint8], suffix: str) -> None:
    frames = [Image.fromarray(np.full_like(pixels, level)) for level in (50, 90, 200)]
    path = tmp_path / f"film{suffix}"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    photo = read(path)
    assert np.abs(photo.pixels.astype(int) - 50).max() <= 2
    assert photo.losses == ("only the first of 3 frames",)
    assert photo.format == {".gif": "png", ".tif": "tiff"}.get(suffix, suffix[1:])


def test_inks_through_their_profile(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    # An RGB profile does not fit inks; nonsense is no profile: both are passed over.
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    inks = Image.fromarray(pixels).convert("CMYK")
    for unusable in (profile, b"nonsense"):
        inks.save(tmp_path / "print.tif", icc_profile=unusable)
        np.testing.assert_array_equal(read(tmp_path / "print.tif").pixels, inks.convert("RGB"))


def test_other_programs_formats_are_refused(tmp_path: Path) -> None:
    Image.new("RGB", (9, 9)).save(tmp_path / "drawing.eps")
    with pytest.raises(PhotoError, match="not an image"):
        read(tmp_path / "drawing.eps")


def test_leaves_other_warnings_alone(pixels: NDArray[np.uint8]) -> None:
    decode(encode(Photo(pixels), "png"), "photo")
    with pytest.warns(UserWarning, match="still here"):
        warnings.warn("still here", stacklevel=1)


def test_warnings_are_the_hosts_to_filter(
    pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encode(Photo(pixels), "png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        filters = list(warnings.filters)
        with pytest.raises(PhotoError, match=r"bomb\.png: far too many pixels for Pillow"):
            decode(data, "bomb.png")
        assert warnings.filters == filters
    code = """
import io, warnings
from PIL import Image
from unmorph.photo import decode
Image.MAX_IMAGE_PIXELS = 400
decode(open(0, "rb").read(), "photo")
"""
    done = subprocess.run([sys.executable, "-c", code], input=data, capture_output=True, check=True)
    assert done.stderr == b""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turns_photos_upright(
    tmp_path: Path, pixels: NDArray[np.uint8], orientation: int, suffix: str
) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(tmp_path / f"phone{suffix}", exif=exif)
    photo = read(tmp_path / f"phone{suffix}")
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
    write(photo, tmp_path / "out.png", keep_metadata=True)
    np.testing.assert_array_equal(read(tmp_path / "out.png").pixels, seen)


@pytest.mark.parametrize(
    ("keep_metadata", "keep_location"), [(False, False), (True, False), (True, True)]
)
@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".tif"])
def test_metadata_only_as_asked(
    tmp_path: Path,
    pixels: NDArray[np.uint8],
    notes: Image.Exif,
    suffix: str,
    keep_metadata: bool,
    keep_location: bool,
) -> None:
    Image.fromarray(pixels).save(tmp_path / "camera.jpg", exif=notes)
    target = tmp_path / f"out{suffix}"
    write(
        read(tmp_path / "camera.jpg"),
        target,
        keep_metadata=keep_metadata,
        keep_location=keep_location,
    )
    with Image.open(target) as image:
        exif = image.getexif()
        assert exif.get(ExifTags.Base.Artist) == ("Jane Doe" if keep_metadata else None)
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        settings = exif.get_ifd(ExifTags.IFD.Exif)
        assert settings.get(ExifTags.Base.ISOSpeedRatings) == (200 if keep_metadata else None)
        assert ExifTags.Base.MakerNote not in settings
        place = exif.get_ifd(ExifTags.IFD.GPSInfo)
        assert place.get(ExifTags.GPS.GPSLatitudeRef) == ("N" if keep_location else None)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_matter(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    Image.fromarray(pixels).save(tmp_path / "odd.jpg", exif=b"Exif\0\0II*\0\xff\xff\xff\x7fjunk")
    photo = read(tmp_path / "odd.jpg")
    write(photo, tmp_path / "out.png", keep_metadata=True)
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
    np.testing.assert_array_equal(again.pixels, pixels)  # what nothing shows through, too


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


@pytest.mark.parametrize("length", [4, 50])
def test_heic_without_data(portrait: NDArray[np.uint8], length: int) -> None:
    needs("heic")
    data = bytearray(encode(Photo(np.ascontiguousarray(portrait[::4, ::4])), "heic"))
    start = data.find(b"mdat") + 4
    data[start : start + length] = bytes(length)
    with pytest.raises(PhotoError, match=r"odd\.heic: damaged"):
        decode(bytes(data), "odd.heic")


def test_what_a_decoder_says_is_put_on_one_line(
    monkeypatch: pytest.MonkeyPatch, portrait: NDArray[np.uint8]
) -> None:
    def fail(image: Image.Image) -> Photo:
        raise OSError("no such item\n  (item 2155905152)\n")

    data = encode(Photo(portrait), "png")
    monkeypatch.setattr("unmorph.photo._decoded", fail)
    with pytest.raises(PhotoError, match=r"^a\.png: .*: no such item \(item 2155905152\)$"):
        decode(data, "a.png")


def test_says_nothing_by_itself(tmp_path: Path) -> None:
    # Pillow logs this damage as an error besides raising it.
    Image.new("RGB", (9, 9)).save(tmp_path / "odd.tif")
    data = bytearray((tmp_path / "odd.tif").read_bytes())
    entry = data.find(struct.pack("<HHIH", 277, 3, 1, 3))  # SamplesPerPixel, TIFF 6.0 section 8
    data[entry + 8 : entry + 10] = struct.pack("<H", 999)
    (tmp_path / "odd.tif").write_bytes(data)
    code = "import sys; from unmorph.photo import read; read(sys.argv[1])"
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "odd.tif"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "PhotoError" in done.stderr
    assert not done.stderr.startswith("More samples")


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
    with pytest.raises(ConfigError, match=r"choose png"):
        encode(Photo(pixels), "xyz")


def test_a_folder_is_made_where_one_can_be(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    write(Photo(pixels), tmp_path / "absent" / "out.png")
    assert [file.name for file in (tmp_path / "absent").iterdir()] == ["out.png"]
    (tmp_path / "file").touch()
    with pytest.raises(PhotoError, match=r"x\.png: cannot be written"):
        write(Photo(pixels), tmp_path / "file" / "x.png")


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
def test_names_keep_their_letters(tmp_path: Path, pixels: NDArray[np.uint8], suffix: str) -> None:
    given = {ExifTags.Base.Artist: "Jürgen Müller", ExifTags.Base.Copyright: "© 2024 Zoë"}
    exif = Image.Exif()
    exif.update({tag: text.encode() for tag, text in given.items()})
    exif[ExifTags.IFD.Exif] = {ExifTags.Base.CameraOwnerName: "Zoë"}
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=exif)
    write(read(tmp_path / "photo.jpg"), tmp_path / f"out{suffix}", keep_metadata=True)
    with Image.open(tmp_path / f"out{suffix}") as image:
        found = image.getexif()
        assert isinstance(found.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.CameraOwnerName], str)
    assert {tag: found[tag].encode("latin-1").decode() for tag in given} == given


def test_a_malformed_note_takes_only_itself_away(tmp_path: Path, pixels: NDArray[np.uint8]) -> None:
    exif = Image.Exif()
    exif.update({ExifTags.Base.Artist: "Jane", ExifTags.Base.ResolutionUnit: 2})
    data = exif.tobytes()
    entry = struct.pack(">HHI", ExifTags.Base.ResolutionUnit, 3, 1)
    as_text = struct.pack(">HHI", ExifTags.Base.ResolutionUnit, 2, 4) + b"cm\0\0"
    assert entry in data
    data = data.replace(data[data.index(entry) :][:12], as_text)
    Image.fromarray(pixels).save(tmp_path / "photo.jpg", exif=data)
    write(read(tmp_path / "photo.jpg"), tmp_path / "out.jpg", keep_metadata=True)
    with Image.open(tmp_path / "out.jpg") as image:
        assert dict(image.getexif()) == {ExifTags.Base.Artist: "Jane"}


#: A profile of greys, as dark as their square: what the standard asks for and no more.
def grey_profile() -> bytes:
    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 2) + b"g\0" + bytes(78),
        b"cprt": b"text\0\0\0\0none\0\0\0\0",
        b"wtpt": b"XYZ \0\0\0\0" + struct.pack(">iii", 0xF6D6, 0x10000, 0xD32D),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, 0x0200) + bytes(2),
    }
    table, body, offset = b"", b"", 128 + 4 + 12 * len(tags)
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += struct.pack(">4sII", name, offset + len(body), len(data))
        body += data
    size = offset + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"none", 0x02100000, b"mntr", b"GRAY", b"XYZ ")
    head += bytes(12) + b"acsp" + bytes(28) + struct.pack(">iii", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


@pytest.mark.parametrize("form", ["webp", "avif", "png", "jpeg"])
def test_grey_with_a_profile_of_greys(tmp_path: Path, form: str) -> None:
    needs(form)
    levels = np.full((16, 16), 128, np.uint8)
    Image.fromarray(levels).save(tmp_path / "grey.png", icc_profile=grey_profile())
    data = encode(read(tmp_path / "grey.png"), form)
    with Image.open(io.BytesIO(data)) as image:
        profile = image.info.get("icc_profile")
        level = image.convert("RGB").getpixel((8, 8))
    if form in ("webp", "avif"):  # which have no greys: the colours are those that were meant
        assert profile is None
        expected = 255 * (1.055 * (128 / 255) ** (2 / 2.4) - 0.055)
        np.testing.assert_allclose(level, expected, atol=3)
    else:
        assert profile == grey_profile()
        np.testing.assert_allclose(level, 128, atol=1)


def test_a_grey_that_stands_for_nothing(tmp_path: Path) -> None:
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    Image.fromarray(deep).save(tmp_path / "deep.png", transparency=int(deep[3, 4]))
    alpha = read(tmp_path / "deep.png").alpha
    assert alpha is not None
    assert np.argwhere(alpha == 0).tolist() == [[3, 4]]


def test_pillow_without_avif(pixels: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "check", lambda name: False)
    with pytest.raises(PhotoError, match=r'pip install "pillow>=11\.3"'):
        encode(Photo(pixels), "avif")


def test_too_little_memory(monkeypatch: pytest.MonkeyPatch, pixels: NDArray[np.uint8]) -> None:
    def fail(image: Image.Image) -> Photo:
        raise MemoryError

    monkeypatch.setattr("unmorph.photo._decoded", fail)
    with pytest.raises(PhotoError, match=r"big\.png: does not fit in memory; shrink"):
        decode(encode(Photo(pixels), "png"), "big.png")


def test_a_name_may_be_as_long_as_the_system_allows(
    tmp_path: Path, pixels: NDArray[np.uint8]
) -> None:
    path = tmp_path / ("顔" * 83 + ".png")
    assert len(path.name.encode()) == 253
    write(Photo(pixels), path)
    np.testing.assert_array_equal(read(path).pixels, pixels)
