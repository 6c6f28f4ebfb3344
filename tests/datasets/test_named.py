from __future__ import annotations

import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmorph.datasets.named import load_named
from unmorph.errors import ConfigError, DataError


def save_target(path: Path, size: int, inner: int) -> None:
    """A black photo whose centred square of ``inner`` pixels is white."""
    array = np.zeros((size, size, 3), np.uint8)
    margin = (size - inner) // 2
    array[margin : size - margin, margin : size - margin] = 255
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


@pytest.mark.parametrize("zipped", [False, True])
def test_lfw_is_cut_to_the_centre_200(tmp_path: Path, zipped: bool) -> None:
    photo = tmp_path / "lfw-deepfunneled" / "Ada_Lovelace" / "Ada_Lovelace_0001.png"
    save_target(photo, size=250, inner=200)
    if zipped:
        with zipfile.ZipFile(tmp_path / "lfw-deepfunneled.zip", "w") as archive:
            archive.write(photo, "lfw-deepfunneled/Ada_Lovelace/Ada_Lovelace_0001.png")
        photo.unlink()
        photo.parent.rmdir()
        photo.parent.parent.rmdir()
    dataset = load_named("lfw", tmp_path)
    assert (dataset.name, len(dataset), dataset.labels) == ("lfw", 1, None)
    assert dataset.face(0).shape == (128, 128, 3)
    assert dataset.face(0).min() == 255


def test_ffhq_is_not_cut(tmp_path: Path) -> None:
    save_target(tmp_path / "ffhq-256" / "00000.png", size=256, inner=254)
    face = load_named("ffhq", tmp_path).face(0)
    assert face[0].max() < 255
    assert face[64, 64].min() == 255


def test_folder_takes_the_largest_centred_square(tmp_path: Path) -> None:
    array = np.zeros((60, 100, 3), np.uint8)
    array[:, 20:80] = 255
    Image.fromarray(array).save(tmp_path / "wide.png")
    dataset = load_named("folder", tmp_path)
    assert dataset.face(0, size=60).min() == 255


def test_unknown_name_lists_the_choices(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'imagenet'; choose one of celeba, lfw, ffhq, folder"):
        load_named("imagenet", tmp_path)


@pytest.mark.parametrize("name", ["lfw", "ffhq", "folder"])
def test_empty_folder_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no photo in it"):
        load_named(name, tmp_path)


@pytest.mark.skipif("UNMORPH_DATA" not in os.environ, reason="UNMORPH_DATA unset")
@pytest.mark.parametrize(("name", "count"), [("celeba", 1999), ("lfw", 1999), ("ffhq", 1000)])
def test_publishers_files(name: str, count: int) -> None:
    dataset = load_named(name, Path(os.environ["UNMORPH_DATA"]) / name)
    assert len(dataset) == count
    assert (dataset.labels is not None) == (name == "celeba")
    assert dataset.face(0).shape == (128, 128, 3)
    assert dataset.face(0).std() > 5
