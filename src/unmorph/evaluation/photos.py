"""Evaluate a defense as it happens: on whole photos, whose faces a stranger's tool finds and crops.

A photo is protected and saved; the file goes through a channel; a detector looks for faces in what
arrives, and each is cut out in the attacker's way and edited. The same places are cut out of the
unprotected photo that was saved and sent likewise. The comparisons are those of
`unmorph.evaluation.run`, with x and x_adv these two crops; beside them stands ``photo``: the
protected photo's likeness to the original before it is sent, over the protected squares.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from unmorph.attributes import are_attributes
from unmorph.channels.batches import own_seeds
from unmorph.channels.codecs import Channel
from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError, DataError
from unmorph.evaluation.composed import ComposedPhotos
from unmorph.evaluation.crops import CROPS, Crop
from unmorph.evaluation.environment import circumstances
from unmorph.evaluation.measures import Measure, load_measures
from unmorph.evaluation.record import Record
from unmorph.evaluation.run import (
    Labeller,
    Progress,
    Subject,
    assemble,
    describe_channel,
    labelled_by,
    measure_batch,
    progress_key,
    refuse_present,
    refuse_unreadable,
)
from unmorph.faces.crop import Square
from unmorph.faces.detect import FaceDetector
from unmorph.photo import Photo, read, write
from unmorph.protector import ProtectedPhoto, Protector
from unmorph.runtime import Floats

#: Smaller faces, by the side of their crop in pixels, nobody edits.
SMALLEST = 64

#: Files that a photo is saved as before it is sent.
SAVED_AS = ("jpg", "png", "webp")

#: The attacker's detector asks for less certainty than the protector's (0.6).
THRESHOLD = 0.5

Pixels = NDArray[np.uint8]


class Photos(Protocol):
    """Whole photos by index.

    Attributes:
        dataset: the set that they are of.
        each: how many of the set's photos make one.
    """

    dataset: FaceDataset
    each: int

    def __len__(self) -> int: ...

    def photo(self, index: int) -> Pixels:
        """Return photo ``index``, (height, width, 3)."""


class WholePhotos:
    """A set's photos before they are cropped."""

    each = 1

    def __init__(self, dataset: FaceDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def photo(self, index: int) -> Pixels:
        """Return photo ``index`` as its file shows it.

        Raises:
            DataError: it cannot be read.
        """
        return np.array(self.dataset.source.read(self.dataset.names[index]))


@dataclass(frozen=True)
class Journey:
    """What happens to a photo between its owner and the deepfake.

    Attributes:
        channel: what befalls the file; None where nothing does. It may scale the photo, but not
            move what it shows.
        crop: a name in `unmorph.evaluation.crops.CROPS`.
        saved_as: one of `SAVED_AS`.
        seed: of noise and jitter.

    Raises:
        ConfigError: the crop or the kind of file is unknown; the message lists the choices. Or the
            channel moves what the photo shows.
    """

    channel: Channel | None = None
    crop: str = "box"
    saved_as: str = "jpg"
    seed: int = 0

    def __post_init__(self) -> None:
        CROPS[self.crop]
        if self.channel is not None and self.channel.moves:
            raise ConfigError(
                f"channel {self.channel.name!r} moves what a photo shows, and here faces are "
                "compared in their places: choose --crop jitter, or the channel with --protocol "
                "face"
            )
        if self.saved_as not in SAVED_AS:
            raise ConfigError(
                f"unknown kind of file {self.saved_as!r}; choose one of {', '.join(SAVED_AS)}"
            )

    def arrived(self, photo: Pixels, index: int) -> Pixels:
        """Return what arrives of photo ``index``, saved and sent."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, f"photo.{self.saved_as}")
            write(Photo(photo), path)
            pixels = read(path).pixels
        (seed,) = own_seeds(self.seed, [index])
        return self.channel(pixels, seed) if self.channel else pixels

    def about(self) -> dict[str, Any]:
        """Return what a record's settings say."""
        return {
            **describe_channel(self.channel),
            "crop": self.crop,
            "saved_as": self.saved_as,
            "seed": self.seed,
        }


class _Defended:
    """A defense of tensors as a protector needs it."""

    def __init__(self, subject: Subject, device: str) -> None:
        self._defense, self._device = subject.defense, device
        self.epsilon = float(subject.about["defense"]["epsilon"])

    def protect(self, faces: Floats, /) -> Floats:
        with torch.no_grad():
            batch = torch.from_numpy(faces).to(self._device)
            protected: Floats = self._defense(batch, None).cpu().numpy()
        return protected


def evaluate_photos(
    subject: Subject,
    photos: Photos,
    journey: Journey,
    *,
    about_dataset: Mapping[str, Any],
    metric_names: Sequence[str],
    labeller: Labeller | None = None,
    limit: int | None = None,
    threads: int | None = None,
    device: str = "cpu",
    present: Path | None = None,
    progress_file: Path | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> Record:
    """Evaluate a defense on whole photos.

    Args:
        subject: deepfake, defense and judge; the defense protects what the detector finds.
        photos: the originals.
        journey: what happens to them.
        about_dataset: what the record says of the photos beside what was counted.
        metric_names: as `unmorph.evaluation.measures.parse_measures` returns them.
        labeller: reads the present labels (N, 5) off the unprotected crops, if they are needed.
        limit: only the first so many photos.
        threads: of the detectors; all cores by default.
        device: where torch runs.
        present, progress_file, on_progress: as for `unmorph.evaluation.run.evaluate`, in photos.

    Raises:
        AlreadyMeasuredError: the record is ``present``.
        DataError: photos cannot be read, which is found out before anything is measured, there
            are too few, or no face was found in any.
        WeightsError: a network cannot be had.
    """
    total = len(photos) if limit is None else min(limit, len(photos))
    if not are_attributes(subject.deepfake.edits):
        labeller = None
    settings = {
        "protocol": "composed" if isinstance(photos, ComposedPhotos) else "photo",
        **journey.about(),
        "metrics": list(metric_names),
        "limit": limit,
        "labels": "classifier" if labeller else "none",
        **labelled_by(labeller),
        "precision": "float32",
    }
    about = {**about_dataset, "photos": total}
    refuse_present(present, subject, about, settings)
    if not total:
        raise DataError(
            f"{photos.dataset.source.path}: {len(photos.dataset)} photos, where one to measure on "
            f"takes {photos.each}; give more"
        )
    refuse_unreadable(photos.dataset, total * photos.each)
    made = circumstances(device, subject.compiled)
    progress = Progress(progress_file, progress_key(subject, about, settings, made), made)
    start = time.monotonic()
    stage = _Stage(
        subject,
        journey,
        Protector(_Defended(subject, device), FaceDetector(threads=threads)),
        FaceDetector(threshold=THRESHOLD, threads=threads),
        load_measures(metric_names, torch.device(device)),
        labeller,
        device,
    )
    # Photos without a face are counted with the next that has one.
    waiting: list[int] = []
    try:
        for index in range(progress.done, total):
            waiting.append(index)
            found = stage.photo(photos.photo(index), index)
            if found:
                counts = np.zeros(len(waiting), np.float32)
                counts[-1] = len(found["face/side"])
                progress.add({"count/faces": counts, **found})
                waiting.clear()
            on_progress(progress.done + len(waiting), total)
    finally:
        progress.save()
    arrays = progress.arrays()
    if not arrays:
        raise DataError("no face was found in any photo; raise --limit, or give other photos")
    counts = arrays.pop("count/faces")
    protected = arrays.pop("face/protected")
    about["count"] = len(protected)
    about["without_face"] = int((counts == 0).sum()) + len(waiting)
    about["unprotected_faces"] = int((protected == 0).sum())
    seconds = progress.seconds + time.monotonic() - start
    return assemble(subject, about, settings, arrays, progress.made, seconds)


def open_photos(protocol: str, dataset: FaceDataset, seed: int = 0) -> Photos:
    """Return a set's whole photos (``photo``), or large ones of its faces (``composed``).

    Raises:
        ConfigError: the protocol is unknown; the message lists the choices.
    """
    if protocol == "photo":
        return WholePhotos(dataset)
    if protocol == "composed":
        return ComposedPhotos(dataset, seed)
    raise ConfigError(f"unknown protocol {protocol!r}; choose one of face, photo, composed")


@dataclass(frozen=True)
class _Stage:
    """Everything that a photo meets, ready to be used."""

    subject: Subject
    journey: Journey
    protector: Protector
    detector: FaceDetector
    measures: Mapping[str, Measure]
    labeller: Labeller | None
    device: str

    def photo(self, photo: Pixels, index: int) -> dict[str, NDArray[np.float32]]:
        """Return the figures of one photo's faces; empty where the attacker finds none."""
        result = self.protector.protect_photo(photo)
        sent = self.journey.arrived(result.pixels, index)
        plain = self.journey.arrived(photo, index)
        crops = self._crops(sent, index)
        if not crops:
            return {}
        faces, shielded = (
            torch.from_numpy(np.stack([crop(arrived) for crop in crops])).to(self.device)
            for arrived in (plain, sent)
        )
        labels = self.labeller(faces) if self.labeller else None
        subject = replace(self.subject, defense=lambda *_: shielded)
        found = measure_batch(subject, faces, labels, self.measures)
        scale = len(photo) / len(sent)
        return {
            **{name: values.float().cpu().numpy() for name, values in found.items()},
            "photo/psnr": np.full(len(crops), result.psnr, np.float32),
            "face/side": np.array([crop.square.size * scale for crop in crops], np.float32),
            "face/protected": np.array(
                [_protected(crop.square, scale, result) for crop in crops], np.float32
            ),
        }

    def _crops(self, photo: Pixels, index: int) -> list[Crop]:
        random = np.random.default_rng((self.journey.seed, index))
        cropper = CROPS[self.journey.crop]
        crops = [cropper(face, random) for face in self.detector.detect(photo)]
        return [c for c in crops if c.square.size >= SMALLEST and c.square.overlaps(photo)]


def _protected(square: Square, scale: float, result: ProtectedPhoto) -> bool:
    """Return whether the middle of an attacked square lies in a protected one."""
    x, y = ((start + square.size / 2) * scale for start in (square.left, square.top))
    return any(
        other.left <= x < other.left + other.size and other.top <= y < other.top + other.size
        for other in result.squares
    )
