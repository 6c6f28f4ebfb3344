"""Sets of faces read from a folder or a zip, cropped as the paper crops them."""

from __future__ import annotations

import hashlib
import os
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unmorph.errors import DataError, PhotoError
from unmorph.files import sha256_of, whole
from unmorph.photo import decode

#: Endings of the files that count as photos.
PHOTO_ENDINGS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")

#: Photos that threads decode ahead of their reader.
_BLOCK = 256

#: What is raised where a photo's bytes are absent, or damaged or encrypted within their zip.
_UNREADABLE = (KeyError, OSError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error)


class PhotoSource:
    """The photos of a folder or of a zip, by name relative to it; hidden ones are left out.

    Args:
        path: a folder or a ``.zip`` file.

    Raises:
        DataError: there is no such folder or zip, or it holds no photo.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._zip: zipfile.ZipFile | None = None
        if self.path.is_dir():
            files = (p for p in self.path.rglob("*") if not p.is_dir())
            found = [p.relative_to(self.path).as_posix() for p in files]
        elif zipfile.is_zipfile(self.path):
            self._zip = zipfile.ZipFile(self.path)
            found = self._zip.namelist()
        else:
            raise DataError(f"{self.path}: expected a folder of photos or a zip of them")
        photos = (name for name in found if name.lower().endswith(PHOTO_ENDINGS))
        self.names = tuple(sorted(name for name in photos if not _is_hidden(name)))
        if not self.names:
            raise DataError(f"{self.path}: no photo in it (looked for {', '.join(PHOTO_ENDINGS)})")

    def read(self, name: str) -> Image.Image:
        """Decode one photo, upright and as RGB.

        Raises:
            DataError: the photo is missing or cannot be decoded.
        """
        try:
            data = self._zip.read(name) if self._zip else (self.path / name).read_bytes()
        except _UNREADABLE as error:
            raise DataError(f"{self.path}: cannot read {name}: {error}") from error
        try:
            return Image.fromarray(decode(data, name).pixels)
        except PhotoError as error:  # which names the photo
            raise DataError(f"{self.path}: cannot read {error}") from error

    def state(self, names: Sequence[str]) -> list[str]:
        """Return size and time of change of the zip, or of each of some photos of a folder.

        Raises:
            DataError: one is gone.
        """
        paths = [self.path / name for name in names] if self._zip is None else [self.path]
        try:
            return [f"{found.st_size} {found.st_mtime_ns}" for found in map(os.stat, paths)]
        except OSError as error:  # a dangling link
            raise DataError(f"{error.filename}: cannot be read: {error.strerror}") from error

    def sha256(self, names: Sequence[str]) -> str:
        """Hash the zip's bytes, or name and bytes of each of some photos of a folder."""
        if self._zip is not None:
            return sha256_of(self.path)
        digest = hashlib.sha256()
        for name in names:
            try:
                content = sha256_of(self.path / name)
            except OSError:  # a dangling link: whoever decodes the photos tells of all of them
                content = "unreadable"
            digest.update(f"{name} {content}\n".encode())
        return digest.hexdigest()


def _is_hidden(name: str) -> bool:
    """Return whether a name is a hidden file's, or of the notes that a Mac puts into zips."""
    parts = name.split("/")
    return parts[0] == "__MACOSX" or any(part.startswith(".") for part in parts)


def centre_crop(photo: Image.Image, side: int) -> Image.Image:
    """Cut the centred square of ``side`` pixels; a smaller photo is cut to its short side."""
    side = min(side, *photo.size)
    left = round((photo.width - side) / 2)
    top = round((photo.height - side) / 2)
    return photo.crop((left, top, left + side, top + side))


@dataclass(frozen=True)
class FaceDataset:
    """Faces of one geometry, with attribute labels where the publisher gives them.

    Attributes:
        name: how reports call the set.
        source: where the photos are.
        names: the photos that belong to the set, in the order of their index.
        crop: side in pixels of the centred square that is cut out before resizing.
        labels: (N, 5) float32 of 0 and 1 in the order of `unmorph.attributes.ATTRIBUTES`, or None.
        lists: the publisher's files that say which photos belong to the set, and their labels.
        listed: how many photos those name; None where there are no lists.
        missing: those of them that are not there, by name without ending.
    """

    name: str
    source: PhotoSource
    names: Sequence[str]
    crop: int
    labels: np.ndarray | None = field(default=None, repr=False)
    lists: tuple[Path, ...] = ()
    listed: int | None = None
    missing: Sequence[str] = ()

    def __len__(self) -> int:
        return len(self.names)

    def face(self, index: int, size: int = 128) -> np.ndarray:
        """Return face ``index`` as (size, size, 3) uint8, cropped and resized as in the paper."""
        photo = centre_crop(self.source.read(self.names[index]), self.crop)
        if photo.size != (size, size):
            photo = photo.resize((size, size), Image.Resampling.BILINEAR)
        return np.asarray(photo)

    def faces(self, size: int = 128) -> Iterator[np.ndarray]:
        """Yield all faces in order, decoded by a few threads ahead of the reader."""
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            for start in range(0, len(self), _BLOCK):
                indices = range(start, min(start + _BLOCK, len(self)))
                yield from pool.map(lambda index: self.face(index, size), indices)

    def names_sha256(self, count: int | None = None) -> str:
        """Hash the names of the first ``count`` photos, or of all."""
        return hashlib.sha256("\n".join(self.names[:count]).encode()).hexdigest()

    def subset(self, indices: Sequence[int]) -> FaceDataset:
        """Return the set restricted to ``indices``."""
        labels = None if self.labels is None else self.labels[list(indices)]
        return replace(self, names=[self.names[i] for i in indices], labels=labels)

    def about_lists(self) -> dict[str, Any]:
        """Return what a record says of the publisher's lists: ``lists``, SHA-256, ``listed``."""
        if not self.lists:
            return {}
        return {
            "lists": {path.name: sha256_of(path) for path in self.lists},
            "listed": self.listed,
        }

    def unreadable(self, limit: int | None = None) -> list[str]:
        """Return the names of photos that cannot be decoded.

        Args:
            limit: stop when so many photos were readable; all are looked at by default.
        """
        wrong: list[str] = []
        wanted = len(self) if limit is None else limit

        def is_readable(name: str) -> bool:
            try:
                self.source.read(name)
            except DataError:
                return False
            return True

        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            start = 0
            while wanted > 0 and (names := self.names[start : start + min(_BLOCK, wanted)]):
                start += len(names)
                for name, readable in zip(names, pool.map(is_readable, names), strict=True):
                    wanted -= readable
                    if not readable:
                        wrong.append(name)
        return wrong

    def without(self, names: Sequence[str]) -> FaceDataset:
        """Return the set without the named photos."""
        left_out = set(names)
        return self.subset([i for i, name in enumerate(self.names) if name not in left_out])


#: Decoded sets up to this many bytes are read into memory: random batches out of a mapped file
#: wait for the disk whenever the system takes its pages back.
_IN_MEMORY = 4_000_000_000


def decoded(dataset: FaceDataset, size: int, cache: str | os.PathLike[str]) -> np.ndarray:
    """Return all faces as one (N, size, size, 3) uint8 array, kept in ``cache``.

    The first call decodes the set and writes the array (whole or not at all); later calls read it,
    or map it where it is large, so a training run starts at once and any set fits. Photos of
    another size in bytes or time of change are decoded anew.
    """
    place = str(dataset.source.path.resolve())
    state = dataset.source.state(dataset.names)
    key = "\n".join([place, str(dataset.crop), str(size), *dataset.names, *state])
    digest = hashlib.sha256(key.encode()).hexdigest()[:16]
    path = Path(cache) / f"{dataset.name}-{size}-{digest}.npy"
    if not path.exists():
        with whole(path, DataError) as partial:
            array = np.lib.format.open_memmap(
                partial, mode="w+", dtype=np.uint8, shape=(len(dataset), size, size, 3)
            )
            for index, face in enumerate(dataset.faces(size)):
                array[index] = face
            array.flush()
    in_memory = path.stat().st_size <= _IN_MEMORY
    faces: np.ndarray = np.load(path, mmap_mode=None if in_memory else "r")
    return faces
