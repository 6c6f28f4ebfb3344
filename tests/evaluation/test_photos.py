from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unmorph import channels
from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.datasets.base import FaceDataset, PhotoSource
from unmorph.errors import ConfigError, DataError
from unmorph.evaluation import composed, photos
from unmorph.evaluation.composed import ComposedPhotos
from unmorph.evaluation.photos import (
    Journey,
    WholePhotos,
    evaluate_photos,
    open_photos,
)
from unmorph.evaluation.record import Record, read_record, write_record
from unmorph.evaluation.run import Labeller, Subject, describe_files
from unmorph.faces.crop import crop_square, frame
from unmorph.faces.detect import FaceDetector

Pixels = NDArray[np.uint8]


class Shy:
    """A deepfake that brightens faces, but hardly those that are darker than it likes."""

    edits = ATTRIBUTES
    size = 128

    def __init__(self, least: float) -> None:
        self.least = least

    def targets(self, edit: str, labels: Tensor, /) -> Tensor:
        return edit_targets(labels, edit)

    def edit(self, faces: Tensor, edit: Tensor | str, /) -> Tensor:
        assert isinstance(edit, Tensor)
        bright = faces.mean((1, 2, 3)) > self.least
        return faces + torch.where(bright, 0.3, 0.03).view(-1, 1, 1, 1)


class Aging(Shy):
    """The same, asked for by names that are no attributes."""

    edits = ("young", "old")  # type: ignore[assignment]

    def edit(self, faces: Tensor, edit: Tensor | str, /) -> Tensor:
        assert edit in self.edits
        return super().edit(faces, torch.zeros(len(faces), 5))


def darker(faces: Tensor, labels: Tensor | None) -> Tensor:
    return (faces - 0.05).clamp(-1, 1)


def unchanged(faces: Tensor, labels: Tensor | None) -> Tensor:
    return faces


def labels(faces: Tensor) -> Tensor:
    return torch.tensor([[1.0, 0, 0, 1, 1]]).expand(len(faces), 5)


@pytest.fixture(scope="module")
def least(portrait: Pixels) -> float:
    """Between the brightness of the portrait's face and that of the darker one."""
    square = frame(FaceDetector(threads=1).detect(portrait)[0].landmarks)
    return float(crop_square(portrait, square).mean()) - 0.02


@pytest.fixture
def album(portrait: Pixels, tmp_path: Path) -> FaceDataset:
    """Three photos: nobody, one face, and two faces side by side."""
    folder = tmp_path / "album"
    folder.mkdir()
    pair = np.concatenate([portrait[:, 90:370], portrait[:, 90:370]], axis=1)
    for index, pixels in enumerate((np.full((90, 120, 3), 77, np.uint8), portrait, pair)):
        Image.fromarray(pixels).save(folder / f"{index}.png")
    source = PhotoSource(folder)
    return FaceDataset("folder", source, source.names, 400)


Run = Callable[..., Record]


@pytest.fixture
def run(album: FaceDataset, least: float) -> Run:
    def evaluated(
        defense: Callable[[Tensor, Tensor | None], Tensor] = darker,
        journey: Journey | None = None,
        kind: type[Shy] = Shy,
        **options: object,
    ) -> Record:
        about = {
            "deepfake": {"name": kind.__name__, "edits": list(kind.edits)},
            "defense": {"name": defense.__name__, "epsilon": 0.05},
            "judge": None,
        }
        return evaluate_photos(
            Subject(kind(least), defense, None, about),
            WholePhotos(album),
            journey or Journey(),
            about_dataset={"name": "folder", **describe_files(album)},
            metric_names=("l2", "psnr"),
            labeller=Labeller(labels, {"file": "x.onnx", "sha256": "1"}),
            threads=1,
            **options,  # type: ignore[arg-type]
        )

    return evaluated


def test_protection_reaches_the_deepfake_through_file_channel_and_crop(
    run: Run, tmp_path: Path
) -> None:
    record = run(journey=Journey(channels.load("messenger"), "landmarks"))
    assert record.settings["labeller"] == {"file": "x.onnx", "sha256": "1"}
    assert record.mean("suppression", "strict_dsr") == 1
    assert record.dataset["photos"] == 3
    assert record.dataset["count"] == 3
    assert record.dataset["without_face"] == 1
    assert record.dataset["unprotected_faces"] == 0
    assert record.settings["protocol"] == "photo"
    assert record.settings["channel"] == "messenger"
    assert record.settings["crop"] == "landmarks"
    likeness = record.mean("photo", "psnr")
    assert likeness is not None
    assert 30 < likeness < 45
    write_record(record, tmp_path / "x.json")
    assert read_record(tmp_path / "x.json") == record


def test_a_deepfake_whose_edits_are_no_attributes_needs_no_labels(run: Run) -> None:
    record = run(journey=Journey(crop="landmarks"), kind=Aging)
    assert record.mean("suppression", "strict_dsr") == 1
    assert set(record.figures["suppression"]["s"].edits) == {"young", "old"}
    assert record.settings["labels"] == "none"
    assert "labeller" not in record.settings
    assert "own_labels" not in record.figures


def test_doing_nothing_protects_nothing(run: Run) -> None:
    record = run(unchanged)
    assert record.mean("suppression", "s") == pytest.approx(0, abs=1e-6)
    assert record.mean("photo", "psnr") is None


def test_channel_and_kind_of_file_change_what_arrives(run: Run) -> None:
    def difference(saved_as: str, channel: str | None) -> float:
        journey = Journey(channels.load(channel) if channel else None, "landmarks", saved_as)
        value = run(journey=journey, limit=2).mean("input", "l2")
        assert value is not None
        return value

    exact, blurred = difference("png", None), difference("png", "blur-20")
    # Whole levels within epsilon: 6 of 6.375.
    assert exact == pytest.approx((6 / 127.5) ** 2, rel=0.15)
    assert blurred < exact
    assert difference("jpg", None) != exact


def test_faces_that_the_protector_missed_are_counted(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = True
    find = FaceDetector.detect

    def blind_once(self: FaceDetector, photo: Pixels) -> object:
        nonlocal first
        found = find(self, photo)
        if found and first and self.threshold > photos.THRESHOLD:
            first = False
            return []
        return found

    monkeypatch.setattr(FaceDetector, "detect", blind_once)
    record = run(journey=Journey(saved_as="png", crop="landmarks"))
    assert record.dataset["unprotected_faces"] == 1
    assert record.mean("suppression", "strict_dsr") == pytest.approx(2 / 3)


class StopError(Exception):
    """Ends a run in the middle."""


def test_stopped_run_goes_on(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "x.json.progress.npz"

    def stop(done: int, total: int) -> None:
        assert total == 3
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        run(progress_file=path, on_progress=stop)
    resumed, whole = run(progress_file=path), run()
    assert resumed.figures == whole.figures
    assert resumed.dataset == whole.dataset
    with pytest.raises(ConfigError, match="other options"):
        run(progress_file=path, journey=Journey(crop="jitter"))


def test_photos_that_cannot_be_read_are_found_before_anything_is_measured(
    run: Run, album: FaceDataset
) -> None:
    Path(album.source.path, "2.png").write_bytes(b"no photo")

    def measured(done: int, total: int) -> None:
        pytest.fail(f"{done} of {total}")

    with pytest.raises(DataError, match=r"1 of its photos cannot be read: 2\.png; mend or remove"):
        run(on_progress=measured)
    run(limit=2)


def test_too_few_photos_to_compose_one(subject: Callable[..., Subject], album: FaceDataset) -> None:
    with pytest.raises(DataError, match=r"album: 3 photos, where one to measure on takes 5"):
        evaluate_photos(
            subject(),
            open_photos("composed", album),
            Journey(),
            about_dataset={"name": "folder", **describe_files(album)},
            metric_names=("l2",),
        )


def test_no_face_anywhere(run: Run) -> None:
    with pytest.raises(DataError, match="no face was found in any photo"):
        run(limit=1)


def test_unknown_choices_are_listed() -> None:
    with pytest.raises(ConfigError, match="'magic'; choose one of box, jitter, landmarks"):
        Journey(crop="magic")
    with pytest.raises(ConfigError, match="'bmp'; choose one of jpg, png, webp"):
        Journey(saved_as="bmp")


@pytest.mark.parametrize("name", ["jitter", "jpeg-75>shift+3", "zoom+2", "turn+2"])
def test_channels_that_move_the_face_compare_nothing(name: str) -> None:
    with pytest.raises(ConfigError, match=r"choose --crop jitter, or .*--protocol face"):
        Journey(channels.load(name))


def test_protocols(album: FaceDataset) -> None:
    assert isinstance(open_photos("photo", album), WholePhotos)
    assert isinstance(open_photos("composed", album), ComposedPhotos)
    with pytest.raises(ConfigError, match="'magic'; choose one of face, photo, composed"):
        open_photos("magic", album)


def test_composed_photos_show_faces_of_many_sizes(
    portrait: Pixels, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "faces"
    folder.mkdir()
    for index in range(11):
        Image.fromarray(portrait[40:400, 80:440]).save(folder / f"{index:02}.png")
    source = PhotoSource(folder)
    made = ComposedPhotos(FaceDataset("folder", source, source.names, 360), seed=1)
    assert len(made) == 2
    monkeypatch.setattr(composed, "CANVAS", (1000, 800))
    monkeypatch.setattr(composed, "FACES", (100, 400))
    photo = made.photo(0)
    assert photo.shape == (800, 1000, 3)
    np.testing.assert_array_equal(photo, made.photo(0))
    assert (photo != made.photo(1)).mean() > 0.5
    boxes = [face.box for face in FaceDetector(threads=1).detect(photo)]
    assert 2 <= len(boxes) <= 5
    widths = [right - left for left, _, right, _ in boxes]
    assert max(widths) > 1.5 * min(widths)


def test_places_do_not_overlap() -> None:
    random = np.random.default_rng(0)
    taken: list[tuple[int, int, int]] = []
    for side in (1500, 1200, 900, 600, 300, 100):
        place = composed._place(side, taken, random)
        assert place is not None
        taken.append((*place, side))
    covered = np.zeros(composed.CANVAS[::-1], np.uint8)
    for left, top, side in taken:
        covered[top : top + side, left : left + side] += 1
    assert covered.max() == 1
    assert covered.sum() == sum(side**2 for *_, side in taken)
    assert composed._place(3000, taken, random) is None
