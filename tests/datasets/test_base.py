from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from unmorph.datasets import base
from unmorph.datasets.base import FaceDataset, PhotoSource, centre_crop, decoded
from unmorph.errors import DataError


def save(path: Path, grey: int, size: tuple[int, int] = (20, 20)) -> None:
    Image.new("RGB", size, (grey, grey, grey)).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four grey photos, one of them in a folder of its own, and a file that is none."""
    photos = tmp_path / "photos"
    (photos / "deep").mkdir(parents=True)
    for index, name in enumerate(["b.png", "a.png", "deep/c.png", "d.png"]):
        save(photos / name, 50 * index)
    (photos / "notes.txt").write_text("no photo")
    return photos


def as_zip(folder: Path, compression: int = zipfile.ZIP_STORED) -> Path:
    path = folder.with_suffix(".zip")
    with zipfile.ZipFile(path, "w", compression) as archive:
        for file in folder.rglob("*.*"):
            archive.write(file, file.relative_to(folder).as_posix())
    return path


@pytest.mark.parametrize("zipped", [False, True])
def test_photos_of_a_folder_and_of_a_zip(folder: Path, zipped: bool) -> None:
    source = PhotoSource(as_zip(folder) if zipped else folder)
    assert source.names == ("a.png", "b.png", "d.png", "deep/c.png")
    assert source.read("deep/c.png").getpixel((0, 0)) == (100, 100, 100)
    with pytest.raises(DataError, match=r"photos.*: cannot read e\.png"):
        source.read("e.png")


def test_hidden_files_are_no_photos(folder: Path) -> None:
    """A Mac's zip has a note beside each photo."""
    for name in ("__MACOSX/._a.png", ".thumbs/a.png", ".b.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"no photo")
    for path in (folder, as_zip(folder)):
        assert PhotoSource(path).names == ("a.png", "b.png", "d.png", "deep/c.png")


def test_a_folder_that_is_named_as_a_photo_is_none(folder: Path) -> None:
    (folder / "deep").rename(folder / "deep.png")
    assert PhotoSource(folder).names == ("a.png", "b.png", "d.png", "deep.png/c.png")


def test_a_link_to_nothing_is_told_by_name(folder: Path) -> None:
    (folder / "gone.png").symlink_to(folder / "absent")
    source = PhotoSource(folder)
    assert source.sha256(["gone.png"]) != source.sha256([])
    with pytest.raises(DataError, match=r"cannot read gone\.png"):
        source.read("gone.png")


def test_grey_and_transparent_photos_become_rgb(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 7).save(tmp_path / "grey.png")
    Image.new("RGBA", (4, 4), (1, 2, 3, 4)).save(tmp_path / "clear.png")
    source = PhotoSource(tmp_path)
    assert source.read("grey.png").getpixel((0, 0)) == (7, 7, 7)
    assert source.read("clear.png").getpixel((0, 0)) == (1, 2, 3)


def test_what_holds_no_photos(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="absent: expected a folder of photos or a zip"):
        PhotoSource(tmp_path / "absent")
    with pytest.raises(DataError, match=r"no photo in it \(looked for \.jpg"):
        PhotoSource(tmp_path)
    text = tmp_path / "text.zip"
    text.write_text("not a zip")
    with pytest.raises(DataError, match="expected a folder of photos or a zip"):
        PhotoSource(text)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_damaged_photos(folder: Path, compression: int) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    for name in ("a.png", "d.png"):
        Image.fromarray(noise).save(folder / name)
    (folder / "a.png").write_bytes((folder / "a.png").read_bytes()[:500])
    with pytest.raises(DataError, match=r"cannot read a\.png"):
        PhotoSource(folder).read("a.png")
    path = as_zip(folder, compression)
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("d.png").header_offset
    data = bytearray(path.read_bytes())
    for offset in range(start + 200, start + 220):
        data[offset] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"photos\.zip: cannot read d\.png"):
        PhotoSource(path).read("d.png")


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG file."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def test_damage_of_any_kind_is_told_by_name(folder: Path) -> None:
    """Pillow answers these with SyntaxError, struct.error and DecompressionBombError."""
    good = (folder / "a.png").read_bytes()
    body, header = good[33:], good[16:29]
    for changed in (
        good[:29] + b"\0\0\0\0" + body,
        good[:8] + chunk(b"IHDR", header[:5]) + body,
        good[:8] + chunk(b"IHDR", struct.pack(">II", 60_000, 60_000) + header[8:]) + body,
    ):
        (folder / "a.png").write_bytes(changed)
        with pytest.raises(DataError, match=r"photos: cannot read a\.png"):
            PhotoSource(folder).read("a.png")


def test_photos_are_upright(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.fromarray(pixels).save(tmp_path / "sideways.png", exif=exif)
    Image.fromarray(pixels).save(tmp_path / "plain.png")
    Image.fromarray(pixels).save(tmp_path / "plain.jpg")
    source = PhotoSource(tmp_path)
    np.testing.assert_array_equal(source.read("sideways.png"), np.rot90(pixels, -1))
    for name in ("plain.png", "plain.jpg"):
        with Image.open(tmp_path / name) as photo:
            np.testing.assert_array_equal(source.read(name), np.asarray(photo))


def test_hash_tells_sets_apart(folder: Path) -> None:
    path = as_zip(folder)
    names = PhotoSource(folder).names

    def hashes() -> tuple[str, str]:
        return PhotoSource(folder).sha256(names), PhotoSource(path).sha256(names)

    before = hashes()
    assert before == hashes()
    photo = folder / names[0]
    content = photo.read_bytes()
    photo.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))  # as large as it was
    as_zip(folder)
    after = hashes()
    assert before[0] != after[0]
    assert before[1] != after[1]
    photo.write_bytes(content)
    save(folder / "e.png", 9)
    assert PhotoSource(folder).sha256(names) == before[0], "no photo of those"


@pytest.mark.parametrize(
    ("size", "side", "box"),
    [
        ((178, 218), 178, (0, 20, 178, 198)),
        ((250, 250), 200, (25, 25, 225, 225)),
        ((30, 50), 178, (0, 10, 30, 40)),
    ],
)
def test_centre_crop(size: tuple[int, int], side: int, box: tuple[int, int, int, int]) -> None:
    row, column = np.mgrid[: size[1], : size[0]]
    photo = Image.fromarray(np.stack([row, column, 0 * row], 2).astype(np.uint8))
    left, top, right, bottom = box
    expected = np.asarray(photo)[top:bottom, left:right]
    np.testing.assert_array_equal(np.asarray(centre_crop(photo, side)), expected)


def dataset(folder: Path) -> FaceDataset:
    source = PhotoSource(folder)
    labels = np.eye(4, 5, dtype=np.float32)
    return FaceDataset("greys", source, source.names, 20, labels)


def test_faces_come_in_order(folder: Path) -> None:
    faces = list(dataset(folder).faces(8))
    assert [face.shape for face in faces] == [(8, 8, 3)] * 4
    assert [int(face[0, 0, 0]) for face in faces] == [50, 0, 150, 100]


def test_subset(folder: Path) -> None:
    part = dataset(folder).subset([2, 0])
    assert list(part.names) == ["d.png", "a.png"]
    assert part.labels is not None
    assert part.labels.argmax(1).tolist() == [2, 0]


@pytest.mark.parametrize("large", [False, True])
def test_decoded_faces_are_kept(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, large: bool
) -> None:
    cache = tmp_path / "cache"
    if large:
        monkeypatch.setattr(base, "_IN_MEMORY", 10)
    first = decoded(dataset(folder), 8, cache)
    assert first.shape == (4, 8, 8, 3)
    assert first[:, 0, 0, 0].tolist() == [50, 0, 150, 100]
    with monkeypatch.context() as patch:
        patch.setattr(FaceDataset, "faces", None)  # what is kept is not read again
        again = decoded(dataset(folder), 8, cache)
    assert isinstance(again, np.memmap) == large
    np.testing.assert_array_equal(again, first)
    decoded(dataset(folder), 4, cache)
    decoded(dataset(folder).subset([1]), 8, cache)
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize("zipped", [False, True])
def test_changed_photos_are_decoded_anew(folder: Path, tmp_path: Path, zipped: bool) -> None:
    def first() -> int:
        photos = as_zip(folder) if zipped else folder
        return int(decoded(dataset(photos), 8, tmp_path / "cache")[0, 0, 0, 0])

    assert first() == 50
    save(folder / "a.png", 255)
    os.utime(folder / "a.png", (10**9, 10**9))
    assert first() == 255


def test_a_link_to_nothing_is_told_before_anything_is_decoded(folder: Path, tmp_path: Path) -> None:
    (folder / "gone.png").symlink_to(folder / "absent")
    with pytest.raises(DataError, match=r"gone\.png: cannot be read: No such file"):
        decoded(dataset(folder), 8, tmp_path / "cache")


def test_decoding_that_fails_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    (folder / "d.png").write_bytes(b"no picture")
    cache = tmp_path / "cache"
    with pytest.raises(DataError, match=r"cannot read d\.png"):
        decoded(dataset(folder), 8, cache)
    assert list(cache.iterdir()) == []
    save(folder / "d.png", 9)
    assert decoded(dataset(folder), 8, cache)[2, 0, 0, 0] == 9
