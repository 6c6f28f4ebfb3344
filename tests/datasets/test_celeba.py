from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from unmorph.cli import app
from unmorph.datasets.celeba import load_celeba
from unmorph.errors import ConfigError, DataError

#: The official columns around the five; Bald stands for the thirty-five others.
COLUMNS = ("Bald", "Black_Hair", "Blond_Hair", "Brown_Hair", "Male", "Young")

ROWS = {
    "000001.jpg": (0, (-1, 1, -1, -1, 1, -1)),
    "000002.jpg": (0, (1, -1, -1, -1, 1, 1)),
    "000003.jpg": (1, (-1, -1, 1, -1, -1, 1)),
    "000004.jpg": (2, (-1, -1, -1, 1, -1, 1)),
}


def save_aligned(path: Path) -> None:
    """A white photo of 178x218 with twenty black rows above and below the paper's crop."""
    pixels = np.full((218, 178, 3), 255, np.uint8)
    pixels[:20] = pixels[198:] = 0
    Image.fromarray(pixels).save(path)


@pytest.fixture
def celeba(tmp_path: Path) -> Path:
    photos = tmp_path / "img_align_celeba"
    photos.mkdir()
    lines = [str(len(ROWS)), " ".join(COLUMNS) + " "]
    for name, (_, labels) in ROWS.items():
        save_aligned((photos / name).with_suffix(".png"))
        lines.append(f"{name} " + " ".join(f"{label:2d}" for label in labels))
    (tmp_path / "list_attr_celeba.txt").write_text("\n".join(lines) + "\n")
    partition = "".join(f"{name} {part}\n" for name, (part, _) in ROWS.items())
    (tmp_path / "list_eval_partition.txt").write_text(partition)
    return tmp_path


def zipped(folder: Path) -> None:
    photos = folder / "img_align_celeba"
    with zipfile.ZipFile(folder / "img_align_celeba.zip", "w") as archive:
        for photo in photos.iterdir():
            archive.write(photo, f"img_align_celeba/{photo.name}")
    shutil.rmtree(photos)


@pytest.mark.parametrize("as_zip", [False, True])
def test_splits_and_labels(celeba: Path, as_zip: bool) -> None:
    if as_zip:
        zipped(celeba)
    expected = {
        "train": [[1, 0, 0, 1, 0], [0, 0, 0, 1, 1]],
        "val": [[0, 1, 0, 0, 1]],
        "test": [[0, 0, 1, 0, 1]],
    }
    for split, labels in expected.items():
        dataset = load_celeba(celeba, split)
        assert dataset.name == "celeba"
        assert dataset.labels is not None
        assert dataset.labels.dtype == np.float32
        assert dataset.labels.tolist() == labels
    assert [Path(name).stem for name in load_celeba(celeba, "train").names] == ["000001", "000002"]


def test_lists_and_what_they_name_beyond_the_photos(celeba: Path) -> None:
    next((celeba / "img_align_celeba").glob("000001*")).unlink()
    dataset = load_celeba(celeba, "train")
    assert (len(dataset), dataset.listed, dataset.missing) == (1, 2, ["000001"])
    about = dataset.subset([0]).about_lists()
    assert about["listed"] == 2
    assert about["lists"] == {
        name: hashlib.sha256((celeba / name).read_bytes()).hexdigest()
        for name in ("list_eval_partition.txt", "list_attr_celeba.txt")
    }


def test_evaluate_says_which_photos_are_missing(celeba: Path, tmp_path: Path) -> None:
    next((celeba / "img_align_celeba").glob("000001*")).unlink()
    command = ["evaluate", "--data", str(celeba), "--split", "train", "--defense", "none"]
    command += ["--metrics", "l2", "--output", str(tmp_path / "x.json")]
    lacks = "lacks 1 of the 2 photos that its lists name for train: 000001"
    stopped = CliRunner().invoke(app, [*command, "--require-all"])
    assert stopped.exit_code == 1
    assert f"{lacks}; add what is missing" in " ".join(stopped.output.split())
    goes_on = CliRunner().invoke(app, command)
    assert goes_on.exit_code == 0, goes_on.output
    assert lacks in " ".join(goes_on.output.split())
    there = tmp_path / "there.txt"
    there.write_text("000002\n")
    listed = CliRunner().invoke(app, [*command, "--require-all", "--subset", str(there)])
    assert listed.exit_code == 0, listed.output


def test_the_papers_crop(celeba: Path) -> None:
    face = load_celeba(celeba, "test").face(0)
    assert face.shape == (128, 128, 3)
    assert face.min() == 255


def test_faces_that_are_cropped_already(celeba: Path) -> None:
    faces = celeba / "train-128"
    faces.mkdir()
    (celeba / "img_align_celeba" / "000001.png").unlink()
    (celeba / "img_align_celeba" / "000002.png").unlink()
    pixels = np.random.default_rng(0).integers(0, 256, (128, 128, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(faces / "000002.png")
    dataset = load_celeba(celeba, "train")
    assert dataset.source.path == faces
    assert list(dataset.names) == ["000002.png"]
    np.testing.assert_array_equal(dataset.face(0), pixels)
    assert load_celeba(celeba, "val").source.path == celeba / "img_align_celeba"


def test_unknown_split(celeba: Path) -> None:
    with pytest.raises(ConfigError, match="'valid'; choose one of train, val, test"):
        load_celeba(celeba, "valid")


def test_no_photo_of_the_split(celeba: Path) -> None:
    (celeba / "img_align_celeba" / "000003.png").unlink()
    with pytest.raises(DataError, match=r"no photo of CelebA's val .*train-128\.zip"):
        load_celeba(celeba, "val")


@pytest.mark.parametrize("name", ["list_attr_celeba.txt", "list_eval_partition.txt"])
def test_lists_that_are_missing_or_binary(celeba: Path, name: str) -> None:
    (celeba / name).write_bytes(b"\xff\xd8\xff")
    with pytest.raises(DataError, match=rf"{name}: cannot read it .* beside its photos"):
        load_celeba(celeba, "train")
    (celeba / name).unlink()
    with pytest.raises(DataError, match=rf"{name}: cannot read it .* beside its photos"):
        load_celeba(celeba, "train")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("list_eval_partition.txt", "000001.jpg\n", "expected a photo and its partition a row"),
        ("list_attr_celeba.txt", "", "no column Black_Hair, Blond_Hair, Brown_Hair, Male, Young"),
        ("list_attr_celeba.txt", "4\nBald Male Young\n", "no column Black_Hair, Blond_Hair"),
        (
            "list_attr_celeba.txt",
            f"1\n{' '.join(COLUMNS)}\n000001.jpg -1 1\n",
            "expected a photo and 6 labels a row, got .'000001.jpg', '-1', '1'",
        ),
    ],
)
def test_malformed_lists(celeba: Path, name: str, text: str, message: str) -> None:
    (celeba / name).write_text(text)
    with pytest.raises(DataError, match=f"{name}: {message}"):
        load_celeba(celeba, "train")


def test_the_real_celeba() -> None:
    if "UNMORPH_DATA" not in os.environ:
        pytest.skip("UNMORPH_DATA names no folder with celeba/ in it")
    dataset = load_celeba(Path(os.environ["UNMORPH_DATA"]) / "celeba", "test")
    assert len(dataset) == 1999
    assert dataset.labels is not None
    assert 0.3 < dataset.labels[:, 3].mean() < 0.5
    assert dataset.face(7).shape == (128, 128, 3)
