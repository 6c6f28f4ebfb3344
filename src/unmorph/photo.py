"""Any photo file to upright RGB bytes and back, with what else belongs to the photo."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageCms, TiffTags, UnidentifiedImageError, features

from unmorph.errors import ConfigError, PhotoError
from unmorph.files import write_whole

PathLike = str | os.PathLike[str]

#: The largest photo that is read, in megapixels: beyond it lie decompression bombs.
MAX_MEGAPIXELS = 100.0


# Pillow logs some damage that it then raises for: without this, Python prints it to stderr.
logging.getLogger("PIL").addHandler(logging.NullHandler())

# What Pillow warns of in odd metadata is dropped anyway, and our own limit decides on sizes. After
# the filters of whoever uses this package, which may tell otherwise.
warnings.filterwarnings("ignore", module="PIL", append=True)


#: Rows that `_pixels` copies at once.
_STRIP = 128


@dataclass(frozen=True)
class _Format:
    """How one kind of file is written."""

    #: Pillow's name of it.
    name: str
    #: The first is given to new files.
    suffixes: tuple[str, ...]
    #: What keeps every pixel, or as much as the format can.
    best: dict[str, Any]
    #: What makes room for a quality; None where the format has none.
    lossy: dict[str, Any] | None = None


#: The formats that `write` can make, by the name that a person types.
_FORMATS = {
    # PNG fast rather than small. TIFF not compressed: Pillow then cannot write EXIF folders.
    "png": _Format("PNG", (".png",), {"compress_level": 1}),
    "jpeg": _Format(
        "JPEG", (".jpg", ".jpeg", ".jpe", ".jfif", ".jif"), {"quality": 95}, {"subsampling": 0}
    ),
    # Exact: the colours under full transparency too.
    "webp": _Format(
        "WEBP", (".webp",), {"lossless": True, "exact": True, "method": 1}, {"method": 4}
    ),
    "tiff": _Format("TIFF", (".tif", ".tiff"), {}),
    "avif": _Format("AVIF", (".avif",), {"quality": 95}, {"subsampling": "4:4:4", "speed": 8}),
    "heic": _Format("HEIF", (".heic", ".heif"), {"quality": 95}, {"chroma": 444}),
}

#: The names of the formats that `write` can make.
FORMATS = tuple(_FORMATS)

#: Those of them that have a quality.
LOSSY = tuple(name for name, form in _FORMATS.items() if form.lossy is not None)

#: Suffixes of the files that `write` can make, each with its format's name.
WRITABLE = {suffix: name for name, form in _FORMATS.items() for suffix in form.suffixes}

#: Suffixes of the files that are taken for photos in a folder.
READABLE = frozenset(
    (*WRITABLE, ".apng", ".bmp", ".gif", ".hif", ".mpo", ".pbm", ".pgm", ".pnm", ".ppm")
)

#: The kinds of file that are read. Pillow has decoders for many more that no camera writes, and
#: hands one of them (EPS) to another program.
_READ = ("AVIF", "BMP", "GIF", "HEIF", "JPEG", "MPO", "PNG", "PPM", "TIFF", "WEBP")

#: The tag of a TIFF's picture that says, with its lowest bit, whether there is a larger one.
_SUBFILE_TYPE = 254

#: What follows ``ftyp`` in files that only pillow-heif reads.
_HEIC_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx")

#: What follows ``ftyp`` in files of either kind.
_EITHER_BRANDS = (b"mif1", b"msf1")

#: What follows ``ftyp`` in AVIF.
_AVIF_BRANDS = (b"avif", b"avis")

#: What Pillow's decoders raise for damaged data; warnings, where they are made errors.
_DAMAGED = (
    Warning,
    OSError,
    EOFError,
    SyntaxError,
    ValueError,
    TypeError,
    AttributeError,
    LookupError,
    OverflowError,
    RuntimeError,
    struct.error,
    zlib.error,
)

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

#: The EXIF of a photo's first folder that stays true; not the thumbnail, a small copy of the
#: unprotected face, and not the orientation, which `read` has applied.
_KEPT = (
    ExifTags.Base.ImageDescription,
    ExifTags.Base.Make,
    ExifTags.Base.Model,
    ExifTags.Base.XResolution,
    ExifTags.Base.YResolution,
    ExifTags.Base.ResolutionUnit,
    ExifTags.Base.Software,
    ExifTags.Base.DateTime,
    ExifTags.Base.Artist,
    ExifTags.Base.Copyright,
)

#: What the folder of the camera's settings loses: previews hide in the maker's note, and width
#: and height are those of the sensor.
_DROPPED = (
    ExifTags.Base.MakerNote,
    ExifTags.Base.ExifImageWidth,
    ExifTags.Base.ExifImageHeight,
    ExifTags.IFD.Interop,
)


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo as its viewer sees it: upright, RGB, 8 bits."""

    #: (height, width, 3) uint8.
    pixels: NDArray[np.uint8]
    #: (height, width) uint8: the opacity, where the file has one.
    alpha: NDArray[np.uint8] | None = None
    #: Whether the file is greyscale; `write` then saves it so.
    grey: bool = False
    #: The colour profile of the pixels.
    icc_profile: bytes | None = None
    #: The camera's notes, without thumbnail, maker's note and orientation.
    exif: Image.Exif | None = None
    #: The name in `FORMATS` that suits it: its own, or ``png``.
    format: str = "png"
    #: What was left behind on reading, in words.
    losses: tuple[str, ...] = ()


def read(path: PathLike, *, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
    """Read a photo: AVIF, BMP, GIF, HEIC (with pillow-heif), JPEG, PNG, PPM, TIFF or WebP.

    EXIF orientation is applied, 16-bit and CMYK become 8-bit RGB, and of an animation the first
    frame is taken. Beyond 178 megapixels Pillow's own limit is to be lifted too:
    ``PIL.Image.MAX_IMAGE_PIXELS = None``.

    Raises:
        PhotoError: the file is absent, no image, damaged, larger than ``max_megapixels``, raw, or
            of 32-bit numbers.
    """
    with opened(path) as file:
        return _read(file, os.fspath(path), max_megapixels)


@contextlib.contextmanager
def opened(path: PathLike) -> Iterator[IO[bytes]]:
    """Yield a photo's file, open for reading.

    Raises:
        PhotoError: it is absent, a folder or out of reach.
    """
    try:
        with open(path, "rb") as file:
            yield file
    except FileNotFoundError as error:
        raise PhotoError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise PhotoError(f"{path}: a folder, not a photo") from error
    except OSError as error:
        raise PhotoError(f"{path}: cannot be read: {error}") from error


def decode(data: bytes, name: str, *, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
    """Read a photo from the bytes of its file, as `read` does; messages call it ``name``."""
    return _read(io.BytesIO(data), name, max_megapixels)


def encode(
    photo: Photo,
    format: str,  # noqa: A002 - what everyone calls it
    *,
    quality: int | None = None,
    keep_metadata: bool = False,
    keep_location: bool = False,
) -> bytes:
    """Return the bytes of a photo's file.

    PNG, TIFF and WebP keep every pixel; JPEG, AVIF and HEIC are saved at quality 95 with full
    colour resolution, JPEG without opacity.

    Args:
        photo: what to write.
        format: a name in `FORMATS`.
        quality: 1 to 100, for JPEG, AVIF, HEIC and WebP (which then loses pixels too); the others
            have none and keep every pixel.
        keep_metadata: also write the camera's notes, without the place.
        keep_location: with ``keep_metadata``, write the place (GPS) too.

    Raises:
        ConfigError: the format is unknown.
        PhotoError: the format cannot hold the photo, or needs a package that is absent.
    """
    if format not in _FORMATS:
        raise ConfigError(f"unknown format {format!r}; choose {', '.join(FORMATS)}")
    form = _FORMATS[format]
    if form.name == "HEIF" and not _learn_heic():
        raise PhotoError(_NEEDS_HEIC)
    if form.name == "AVIF" and not features.check("avif"):
        raise PhotoError(NEEDS_AVIF)
    options = {**(form.lossy or {}), **form.best}
    if quality is not None and form.lossy is not None:
        options = {**form.lossy, "quality": quality}
    image, profile = _encodable(photo, form.name)
    if profile:
        options["icc_profile"] = profile
    if keep_metadata and photo.exif is not None:
        notes = _chosen(photo.exif, keep_location)
        options["exif"] = _for_tiff(notes) if form.name == "TIFF" else notes
    file = io.BytesIO()
    try:
        image.save(file, form.name, **options)
    except (KeyError, OSError, ValueError, RuntimeError) as error:
        without = "; try it without the camera's notes (--keep-metadata)"
        remedy = without if "exif" in options else ""
        raise PhotoError(f"cannot be written as {format}: {error}{remedy}") from error
    return file.getvalue()


def write(
    photo: Photo,
    path: PathLike,
    *,
    quality: int | None = None,
    keep_metadata: bool = False,
    keep_location: bool = False,
) -> None:
    """Write a photo whole or not at all, and its folder; a file that is there is replaced.

    The suffix names the format; the rest is as for `encode`.

    Raises:
        PhotoError: the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in WRITABLE:
        raise PhotoError(f"{path}: cannot write this format; choose {', '.join(WRITABLE)}")
    try:
        data = encode(
            photo,
            WRITABLE[path.suffix.lower()],
            quality=quality,
            keep_metadata=keep_metadata,
            keep_location=keep_location,
        )
    except PhotoError as error:
        raise PhotoError(f"{path}: {error}") from error
    write_whole(path, data, PhotoError)


def losses_as(photo: Photo, format: str) -> tuple[str, ...]:  # noqa: A002
    """Return what is left behind of a photo's file, on reading it and on writing it as a format."""
    lost = photo.alpha is not None and not _holds_opacity(_FORMATS[format].name)
    return (*photo.losses, "no opacity") if lost else photo.losses


def suffix_for(suffix: str, format: str | None = None) -> str:  # noqa: A002
    """Return the suffix of the result of a file with a suffix: the same where its format allows.

    Args:
        suffix: such as ``.JPG``.
        format: a name in `FORMATS`; by default the suffix's own, or PNG where it cannot be written.
    """
    own = WRITABLE.get(suffix.lower())
    wanted = format or own or "png"
    return suffix if own == wanted else _FORMATS[wanted].suffixes[0]


_NEEDS_HEIC = 'HEIC needs pillow-heif: pip install "unmorph[heic]"'

#: What to say where a file is to be AVIF and Pillow is too old for it.
NEEDS_AVIF = 'this Pillow has no AVIF: pip install "pillow>=11.3"'


def _read(file: IO[bytes], name: str, max_megapixels: float) -> Photo:
    start = file.read(12)
    file.seek(0)
    brand = start[8:12] if start[4:8] == b"ftyp" else b""
    knows_heic = brand in (*_HEIC_BRANDS, *_EITHER_BRANDS) and _learn_heic()
    if brand in _HEIC_BRANDS and not knows_heic:
        raise PhotoError(f"{name}: {_NEEDS_HEIC}")
    if brand in _AVIF_BRANDS and not features.check("avif"):
        raise PhotoError(f"{name}: {NEEDS_AVIF}")
    Image.init()
    try:
        with Image.open(file, formats=[kind for kind in _READ if kind in Image.OPEN]) as image:
            megapixels = image.width * image.height / 1e6
            if megapixels > max_megapixels:
                raise PhotoError(
                    f"{name}: {megapixels:.3g} megapixels are more than the limit of "
                    f"{max_megapixels:g}; shrink the photo first, or raise the limit "
                    "(--max-megapixels)"
                )
            if why := _refusal(image):
                raise PhotoError(f"{name}: {why}")
            return _decoded(image)
    except UnidentifiedImageError as error:
        why = "not an image that can be read"
        if brand in _EITHER_BRANDS and not knows_heic:
            why = _NEEDS_HEIC
        raise PhotoError(f"{name}: {why}") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise PhotoError(
            f"{name}: far too many pixels for Pillow; shrink the photo first, or lift its limit "
            "(PIL.Image.MAX_IMAGE_PIXELS = None)"
        ) from error
    except MemoryError as error:
        raise PhotoError(f"{name}: does not fit in memory; shrink the photo first") from error
    except _DAMAGED as error:
        # One line, whatever a decoder's message holds.
        reason = " ".join(str(error).split())
        raise PhotoError(f"{name}: damaged or unreadable: {reason}") from error


def _learn_heic() -> bool:
    """Teach Pillow to read and write HEIC; return False where pillow-heif is not installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _refusal(image: Image.Image) -> str | None:
    """Return why an image that can be decoded is no photo."""
    if getattr(image, "tag_v2", {}).get(_SUBFILE_TYPE, 0) & 1:
        return "a raw photo, or another whose first picture is but a preview; develop it first"
    if image.mode == "F" or (image.format == "TIFF" and image.mode == "I"):
        return "its numbers do not tell which of them is white; save it with 8 or 16 bits first"
    return None


def _decoded(image: Image.Image) -> Photo:
    depth = _depth(image)  # before anything decodes it, which forgets its depth
    losses = _losses(image, depth)
    # Of grey with opacity and 16 bits Pillow makes colour.
    deep_grey = any(str(how).startswith("LA;16") for *_, how in getattr(image, "tile", ()))
    exif = _exif(image)
    image.load()
    # Asked for after loading, at which Pillow turns a TIFF, and only a TIFF, upright itself.
    orientation = image.getexif().get(ExifTags.Base.Orientation) if exif else None
    grey = deep_grey or image.mode in ("1", "L", "LA", "La") or image.mode.startswith("I")
    # Of these, the pixels become another kind of colour than the profile speaks of.
    converted = image.mode in ("CMYK", "LAB", "HSV", "YCbCr")
    profile = image.info.get("icc_profile")
    has_alpha = image.has_transparency_data
    form = _own_format(image)
    if image.mode.startswith("I"):
        image = _eight_bits(image, depth)
    elif image.mode == "CMYK":
        image = _light(image, profile)
    elif image.mode == "La":  # from which Pillow has no other way
        image = image.convert("LA")
    wanted = "RGBA" if has_alpha else "RGB"
    upright = image if image.mode == wanted else image.convert(wanted)
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    alpha = np.array(upright.getchannel("A")) if has_alpha else None
    pixels = _pixels(upright.convert("RGB") if has_alpha else upright)
    notes = _shareable(exif) if exif else None
    return Photo(pixels, alpha, grey, None if converted else profile, notes, form, losses)


def _eight_bits(image: Image.Image, depth: int) -> Image.Image:
    """Return a deep grey image with 8 bits, and with the grey that stands for nothing."""
    deep = np.asarray(image)
    # Of others than these of TIFF, Pillow makes 16 bits.
    shift = 4 if depth == 12 and image.format == "TIFF" else 8
    shallow = Image.fromarray((deep >> shift).clip(0, 255).astype(np.uint8))
    if image.has_transparency_data:
        opaque = deep != image.info["transparency"]
        shallow.putalpha(Image.fromarray(opaque.astype(np.uint8) * 255))
    return shallow


def _pixels(image: Image.Image) -> NDArray[np.uint8]:
    """Return an RGB image's bytes; strip by strip takes half as long as all at once."""
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):
        bottom = min(top + _STRIP, image.height)
        pixels[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return pixels


def _own_format(image: Image.Image) -> str:
    kind = "JPEG" if image.format == "MPO" else image.format
    return next((name for name, form in _FORMATS.items() if form.name == kind), "png")


def _depth(image: Image.Image) -> int:
    """Return the bits of a colour in an image's file, 8 where Pillow does not tell."""
    depth = int(image.info.get("bit_depth") or 8)  # of HEIC
    for codec, _, _, how in getattr(image, "tile", ()):
        if codec.startswith("ppm") and isinstance(how, tuple):
            depth = int(how[-1]).bit_length()  # it ends with what is white
        if "BGR;16" not in str(how):  # of which each pixel has 16
            depth = next((bits for bits in (12, 16) if f";{bits}" in str(how)), depth)
    return depth


def _losses(image: Image.Image, depth: int) -> tuple[str, ...]:
    losses = []
    # An MPO's other pictures are previews and depth maps, not frames.
    if image.format != "MPO" and (frames := getattr(image, "n_frames", 1)) > 1:
        losses.append(f"only the first of {frames} frames")
    if depth > 8:
        losses.append(f"8 of {depth} bits")
    return tuple(losses)


def _light(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return an image of inks or greys as sRGB, through its colour profile where that is usable."""
    if profile:
        try:
            meant = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            screen = ImageCms.createProfile("sRGB")
            seen = ImageCms.profileToProfile(image, meant, screen, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            return image.convert("RGB")
        if seen is not None:
            seen.info.pop("icc_profile", None)  # sRGB's, which goes without saying
            return seen
    return image.convert("RGB")


def _exif(image: Image.Image) -> Image.Exif | None:
    """Return the EXIF data, or None where there is none or it cannot be understood."""
    try:
        exif = image.getexif()
        for folder in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
            exif.get_ifd(folder)  # read now: later the file is closed
    except _DAMAGED:
        return None
    return exif if len(exif) else None


def _shareable(exif: Image.Exif) -> Image.Exif | None:
    """Return what may be kept and can be written, or None where that is nothing."""
    settings = exif.get_ifd(ExifTags.IFD.Exif)
    kept = Image.Exif()
    kept.update(_writable({tag: exif[tag] for tag in _KEPT if tag in exif}))
    for folder, tags in (
        (ExifTags.IFD.Exif, {tag: settings[tag] for tag in settings if tag not in _DROPPED}),
        (ExifTags.IFD.GPSInfo, exif.get_ifd(ExifTags.IFD.GPSInfo)),
    ):
        if written := _writable(tags, folder):
            kept[folder] = written
    return kept if len(kept) else None


def _writable(tags: Mapping[int, Any], folder: int | None = None) -> dict[int, Any]:
    """Return the tags of a folder, or of the first, but for those that cannot be written."""
    given = _in_bytes(tags)

    def writes(some: dict[int, Any]) -> bool:
        notes = Image.Exif()
        notes.update(some if folder is None else {folder: some})
        try:
            notes.tobytes()
        except _DAMAGED:
            return False
        return True

    return given if writes(given) else {t: v for t, v in given.items() if writes({t: v})}


def _in_bytes(tags: Mapping[int, Any]) -> dict[int, Any]:
    """Return tags with other text than ASCII as the bytes that it was, where Pillow takes those.

    Pillow reads text as Latin-1, and writes what is no ASCII as question marks. Bytes it writes as
    text where it knows the tag for that, and as numbers elsewhere.
    """
    return {
        tag: value.encode("latin-1", "replace") if _is_letters(tag, value) else value
        for tag, value in tags.items()
    }


def _is_letters(tag: int, value: object) -> bool:
    known = TiffTags.lookup(tag).type == TiffTags.ASCII
    return known and isinstance(value, str) and not value.isascii()


def _for_tiff(notes: bytes) -> Image.Exif:
    """Return notes as Pillow writes them to a TIFF, without question marks for letters."""
    exif = Image.Exif()
    exif.load(notes)
    exif.update(_in_bytes({tag: exif[tag] for tag in _KEPT if tag in exif}))
    return exif


def _chosen(exif: Image.Exif, keep_location: bool) -> bytes:
    chosen = Image.Exif()
    for tag, value in exif.items():
        if keep_location or tag != ExifTags.IFD.GPSInfo:
            chosen[tag] = value
    return chosen.tobytes()


#: Kinds of file that have no greyscale.
_COLOURED = ("WEBP", "AVIF")


def _holds_opacity(kind: str) -> bool:
    return kind != "JPEG"


def _encodable(photo: Photo, kind: str) -> tuple[Image.Image, bytes | None]:
    """Return the image to be written as a kind of file, and the profile of its colours."""
    image, profile = Image.fromarray(photo.pixels), photo.icc_profile
    if photo.grey:
        image = image.convert("L")
        if profile and profile[16:20] == b"GRAY" and kind in _COLOURED:  # which cannot hold it
            image, profile = _light(image, profile), None
    if photo.alpha is not None and _holds_opacity(kind):
        image.putalpha(Image.fromarray(photo.alpha))
    return image, profile
