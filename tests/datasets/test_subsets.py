from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from unmorph.datasets import subsets
from unmorph.datasets.base import FaceDataset, PhotoSource
from unmorph.datasets.subsets import draw, named_subset, narrowed, subset_name
from unmorph.errors import ConfigError, DataError


def dataset(folder: Path, names: list[str]) -> FaceDataset:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    source = PhotoSource(folder)
    labels = np.eye(len(source.names), 5, dtype=np.float32)
    return FaceDataset("folder", source, source.names, 128, labels)


def test_the_photos_with_the_smallest_hashes_in_the_order_of_the_set(tmp_path: Path) -> None:
    every = dataset(tmp_path, [f"{index}.png" for index in range(30)])
    found = draw(every, 5)
    hashes = sorted(hashlib.sha256(str(index).encode()).hexdigest() for index in range(30))
    chosen = {hashlib.sha256(Path(name).stem.encode()).hexdigest() for name in found.names}
    assert chosen == set(hashes[:5])
    assert list(found.names) == sorted(found.names)
    assert set(found.names) < set(draw(every, 8).names)
    for name, row in zip(
        found.names, found.labels if found.labels is not None else [], strict=True
    ):
        assert every.labels is not None
        assert np.array_equal(row, every.labels[every.names.index(name)])


def test_folder_and_format_do_not_matter(tmp_path: Path) -> None:
    one = dataset(tmp_path / "a", [f"{index}.png" for index in range(9)])
    other = dataset(tmp_path / "b", [f"img/{index}.jpg" for index in range(9)])
    stems = [[Path(name).stem for name in draw(each, 4).names] for each in (one, other)]
    assert stems[0] == stems[1]


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = dataset(tmp_path, [f"{index}.png" for index in range(9)])
    with pytest.raises(DataError, match="9 faces where 200 are wanted; ask for fewer"):
        named_subset(every, "paper-200")
    with pytest.raises(ConfigError, match="unknown subset 'best'; choose one of paper-200"):
        named_subset(every, "best")
    monkeypatch.setitem(subsets.SUBSETS, "paper-200", 4)
    assert named_subset(every, "paper-200").names == draw(every, 4).names


def test_the_photos_that_a_file_names(tmp_path: Path) -> None:
    every = dataset(tmp_path / "photos", [f"people/{index}.png" for index in range(9)])
    names = tmp_path / "names.txt"
    names.write_text("7\n2\n\n7 \n5\n")
    found = named_subset(every, str(names))
    assert list(found.names) == ["people/2.png", "people/5.png", "people/7.png"]
    names.write_text("2\n11\n12\n")
    with pytest.raises(DataError, match=r"lacks 2 of the 3 photos that .*names\.txt names: 11, 12"):
        named_subset(every, str(names))
    with pytest.raises(DataError, match=r"absent\.txt: cannot read it"):
        named_subset(every, str(tmp_path / "absent.txt"))


def test_a_subset_of_a_list_of_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    every = dataset(tmp_path / "photos", [f"{index}.png" for index in range(9)])
    listed = tmp_path / "lfw.txt"
    listed.write_text("1\n3\n5\n7\n")
    monkeypatch.setitem(subsets.SUBSETS, "paper-200", 2)
    found, called = narrowed(every, [str(listed), "paper-200"])
    assert called == "paper-200 of lfw"
    assert found.names == draw(every.subset([1, 3, 5, 7]), 2).names
    monkeypatch.setitem(subsets._WHOLE, "lfw", 4)
    assert narrowed(every, [str(listed), "paper-200"])[1] == "paper-200"
    assert narrowed(every, [str(listed)])[1] is None
    assert narrowed(every, []) == (every, None)


def test_what_records_call_a_subset() -> None:
    assert subset_name("paper-200", 200) == "paper-200"
    assert subset_name("my/friends.txt", 3) == "friends"
    assert subset_name("lfw.txt", 3) == "lfw"
    lists = sorted((Path(__file__).parents[2] / "configs" / "sets").glob("*.txt"))
    assert len(lists) == 4
    for path in lists:
        assert subset_name(str(path), len(path.read_text().split())) is None
