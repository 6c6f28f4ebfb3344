"""Any photo file to upright RGB bytes and back, with what else belongs to the photo."""

from __future__ import annotations

import os
import struct
import uuid
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

from unmorph.errors import PhotoError

PathLike = str | os.PathLike[str]

#: The largest photo that is read, in megapixels: beyond it lie decompression bombs.
MAX_MEGAPIXELS = 100.0

#: How each kind of file is written: at full quality, and PNG fast rather than small.
_FORMATS: dict[str, tuple[str, dict[str, Any]]] = {
    ".png": ("PNG", {"compress_level": 1}),
    ".webp": ("WEBP", {"lossless": True, "method": 1}),
    ".tif": ("TIFF", {}),  # not compressed: Pillow then cannot write EXIF folders
    ".tiff": ("TIFF", {}),
    ".jpg": ("JPEG", {"quality": 95, "subsampling": 0}),
    ".jpeg": ("JPEG", {"quality": 95, "subsampling": 0}),
}

#: Suffixes of the files that `write` can make.
WRITABLE = tuple(_FORMATS)

#: What Pillow's decoders raise for damaged data.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, OverflowError, struct.error)

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


def read(path: PathLike, *, max_megapixels: float = MAX_MEGAPIXELS) -> Photo:
    """Read a photo in any format that Pillow opens.

    EXIF orientation is applied, 16-bit and CMYK become 8-bit RGB, and of an animation the first
    frame is taken.

    Raises:
        PhotoError: the file is absent, no image, damaged, or larger than ``max_megapixels``.
    """
    with warnings.catch_warnings():
        # Our own limit decides; and what Pillow warns of in odd metadata is dropped anyway.
        warnings.simplefilter("ignore")
        try:
            with Image.open(path) as image:
                megapixels = image.width * image.height / 1e6
                if megapixels > max_megapixels:
                    raise PhotoError(
                        f"{path}: {megapixels:.0f} megapixels are more than the limit of "
                        f"{max_megapixels:g}; shrink the photo first"
                    )
                return _decoded(image)
        except FileNotFoundError as error:
            raise PhotoError(f"{path}: no such file") from error
        except IsADirectoryError as error:
            raise PhotoError(f"{path}: a folder, not a photo") from error
        except UnidentifiedImageError as error:
            raise PhotoError(f"{path}: not an image that can be read") from error
        except Image.DecompressionBombError as error:
            raise PhotoError(f"{path}: far too many pixels; shrink the photo first") from error
        except _DAMAGED as error:
            raise PhotoError(f"{path}: damaged or unreadable: {error}") from error


def write(
    photo: Photo, path: PathLike, *, keep_exif: bool = False, keep_location: bool = False
) -> None:
    """Write a photo whole or not at all; a file that is there is replaced.

    The suffix names the format. All keep every pixel but JPEG, which is saved at quality 95 with
    full colour resolution and without opacity.

    Args:
        photo: what to write.
        path: where to, with one of the suffixes in `WRITABLE`.
        keep_exif: also write the camera's notes, without the place.
        keep_location: with ``keep_exif``, write the place (GPS) too.

    Raises:
        PhotoError: the suffix is unknown, or the file cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() not in _FORMATS:
        raise PhotoError(f"{path}: cannot write this format; choose {', '.join(WRITABLE)}")
    kind, options = _FORMATS[path.suffix.lower()]
    options = dict(options)
    if photo.icc_profile:
        options["icc_profile"] = photo.icc_profile
    if keep_exif and photo.exif is not None:
        options["exif"] = _chosen(photo.exif, keep_location)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.partial")
    try:
        with partial.open("xb") as file:
            _encodable(photo, kind).save(file, kind, **options)
        os.replace(partial, path)
    except (OSError, ValueError) as error:
        raise PhotoError(f"{path}: cannot be written: {error}") from error
    finally:
        partial.unlink(missing_ok=True)


def _decoded(image: Image.Image) -> Photo:
    exif = _exif(image)
    orientation = exif.get(ExifTags.Base.Orientation) if exif else None
    grey = image.mode in ("1", "L", "LA", "La", "F") or image.mode.startswith("I")
    # Of these, the pixels become another kind of colour than the profile speaks of.
    converted = image.mode in ("CMYK", "LAB", "HSV", "YCbCr")
    profile = None if converted else image.info.get("icc_profile")
    has_alpha = image.has_transparency_data
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
    upright = image.convert("RGBA" if has_alpha else "RGB")
    if orientation in _UPRIGHT:
        upright = upright.transpose(_UPRIGHT[orientation])
    alpha = np.array(upright.getchannel("A")) if has_alpha else None
    pixels = np.array(upright.convert("RGB") if has_alpha else upright)
    return Photo(pixels, alpha, grey, profile, _shareable(exif) if exif else None)


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
    """Return what may be kept, or None where that cannot be written."""
    kept = Image.Exif()
    for tag in _KEPT:
        if tag in exif:
            kept[tag] = exif[tag]
    settings = exif.get_ifd(ExifTags.IFD.Exif)
    if settings:
        kept[ExifTags.IFD.Exif] = {t: v for t, v in settings.items() if t not in _DROPPED}
    location = exif.get_ifd(ExifTags.IFD.GPSInfo)
    if location:
        kept[ExifTags.IFD.GPSInfo] = dict(location)
    try:
        kept.tobytes()
    except _DAMAGED:
        return None
    return kept if len(kept) else None


def _chosen(exif: Image.Exif, keep_location: bool) -> bytes:
    chosen = Image.Exif()
    for tag, value in exif.items():
        if keep_location or tag != ExifTags.IFD.GPSInfo:
            chosen[tag] = value
    return chosen.tobytes()


def _encodable(photo: Photo, kind: str) -> Image.Image:
    image = Image.fromarray(photo.pixels)
    if photo.grey:
        image = image.convert("L")
    if photo.alpha is not None and kind != "JPEG":
        image.putalpha(Image.fromarray(photo.alpha))
    return image
