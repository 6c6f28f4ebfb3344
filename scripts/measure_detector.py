"""Measure how many faces the detector finds, beside YuNet at a photo's own size.

Usage: python scripts/measure_detector.py --lfw LFW --ffhq FFHQ [--yunet ONNX] [-o RECORD]

Every photo of LFW and FFHQ shows one face in its middle. Crowds are put together of 50 FFHQ faces
of one size a photo. A face counts as found where a detected box has its centre within a quarter of
a face's width of where it is, and between half and twice its width. Boxes beside that are
*others*: people in the background, and mistakes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unmorph.datasets.base import FaceDataset
from unmorph.datasets.named import load_named
from unmorph.faces.crop import BOX_SPAN
from unmorph.faces.detect import FaceDetector
from unmorph.runtime import Floats, open_session

Pixels = NDArray[np.uint8]
#: Left, top, right, bottom of faces, (N, 4).
Detect = Callable[[Pixels], Floats]

#: The face's width, in sides of a photo, where it is in its middle; the median of what both find.
WIDTHS = {"lfw": 0.36, "ffhq": 0.52}

#: Width and height of a crowd, its rows and columns, and its faces' widths in pixels.
CROWD, ROWS, COLUMNS = (4000, 3000), 5, 10
CROWD_FACES = (20, 40, 80, 160)

#: The least confidence that counts, for both; boxes that share so much are one face.
THRESHOLD, SAME = 0.6, 0.3


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--ffhq", type=Path, required=True)
    parser.add_argument("--yunet", type=Path, help="a YuNet file that takes any size")
    parser.add_argument("--limit", type=int, help="photos of each set")
    parser.add_argument("--crowds", type=int, default=10, help="photos of each face size")
    parser.add_argument("-o", "--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    ours = FaceDetector(threshold=THRESHOLD)
    detectors: dict[str, Detect] = {
        "unmorph": lambda photo: np.array([f.box for f in ours.detect(photo)]).reshape(-1, 4)
    }
    if options.yunet:
        detectors["YuNet, one pass"] = plain_yunet(options.yunet)
    sets = {name: load_named(name, getattr(options, name)) for name in WIDTHS}
    scenes: dict[str, Iterator[tuple[Pixels, Floats]]] = {
        name: portraits(dataset, WIDTHS[name], options.limit) for name, dataset in sets.items()
    }
    for width in CROWD_FACES:
        scenes[f"crowd of {width} px"] = crowds(sets["ffhq"], width, options.crowds)
    rows = []
    for scene, photos in scenes.items():
        for row in measured(photos, detectors):
            rows.append({"scene": scene, **row})
            print("{scene:16} {detector:16} {faces:5} faces {found:7.2%} found, "
                  "{others:4} others, {ms_a_photo:7.1f} ms a photo".format(**rows[-1]))  # fmt: skip
    if options.out:
        record = {"threshold": THRESHOLD, "rows": rows}
        options.out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


def portraits(
    dataset: FaceDataset, width: float, limit: int | None
) -> Iterator[tuple[Pixels, Floats]]:
    """Yield photos and the centre and width of the face in their middle, (1, 3)."""
    for name in dataset.names[:limit]:
        photo = np.array(dataset.source.read(name))
        side = photo.shape[0]
        yield photo, np.array([[side / 2, side / 2, width * side]], np.float32)


def crowds(dataset: FaceDataset, width: int, count: int) -> Iterator[tuple[Pixels, Floats]]:
    """Yield photos of many faces of one width, and their centres and widths, (50, 3)."""
    side = round(width / WIDTHS["ffhq"])
    for number in range(count):
        random = np.random.default_rng((width, number))
        canvas = Image.new("RGB", CROWD, tuple(random.integers(60, 200, 3).tolist()))
        truth = []
        for place in range(ROWS * COLUMNS):
            cell = np.array([CROWD[0] / COLUMNS, CROWD[1] / ROWS])
            corner = cell * (place % COLUMNS, place // COLUMNS)
            left, top = (corner + random.random(2) * (cell - side)).astype(int).tolist()
            face = dataset.face((number * ROWS * COLUMNS + place) % len(dataset), side)
            canvas.paste(Image.fromarray(face), (left, top))
            truth.append((left + side / 2, top + side / 2, width))
        yield np.array(canvas), np.array(truth, np.float32)


def measured(
    scenes: Iterator[tuple[Pixels, Floats]], detectors: dict[str, Detect]
) -> Iterator[dict[str, Any]]:
    """Yield a row of figures for each detector."""
    totals = {name: np.zeros(3) for name in detectors}
    photos = faces = 0
    for photo, truth in scenes:
        photos, faces = photos + 1, faces + len(truth)
        for name, detect in detectors.items():
            start = time.perf_counter()
            boxes = detect(photo)
            seconds = time.perf_counter() - start
            matches = matching(boxes, truth)
            others = ~matches.any(axis=1)
            totals[name] += [matches.any(axis=0).sum(), others.sum(), seconds]
    for name, (found, extra, seconds) in totals.items():
        yield {
            "detector": name,
            "photos": photos,
            "faces": faces,
            "found": float(found / faces),
            "others": int(extra),
            "ms_a_photo": 1e3 * float(seconds) / photos,
        }


def matching(boxes: Floats, truth: Floats) -> NDArray[np.bool_]:
    """Return which of the boxes (N, 4) are which of the faces (M, 3), as (N, M)."""
    centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
    widths = boxes[:, None, 2] - boxes[:, None, 0]
    true = truth[None, :, 2]
    near = np.hypot(*np.moveaxis(centres - truth[None, :, :2], 2, 0)) < 0.25 * BOX_SPAN * true
    like: NDArray[np.bool_] = near & (widths > true / 2) & (widths < true * 2)
    return like


def plain_yunet(path: Path) -> Detect:
    """Return YuNet as its authors run it: one pass over the whole photo at its own size."""
    session = open_session(path)

    def detect(photo: Pixels) -> Floats:
        height, width = (-(-side // 32) * 32 for side in photo.shape[:2])
        blob = np.zeros((1, 3, height, width), np.float32)
        blob[0, :, : photo.shape[0], : photo.shape[1]] = photo[..., ::-1].transpose(2, 0, 1)
        outputs = session.run(None, {"input": blob})
        scores, boxes = [], []
        for level, stride in enumerate((8, 16, 32)):
            classes, objects, offsets = (outputs[3 * part + level][0] for part in range(3))
            score = np.sqrt(np.clip(classes[:, 0], 0, 1) * np.clip(objects[:, 0], 0, 1))
            (keep,) = np.nonzero(score >= THRESHOLD)
            columns = width // stride
            cells = np.stack([keep % columns, keep // columns], axis=1)
            middles = (cells + offsets[keep, :2]) * stride
            halves = np.exp(offsets[keep, 2:]) * stride / 2
            boxes.append(np.concatenate([middles - halves, middles + halves], axis=1))
            scores.append(score[keep])
        return once(np.concatenate(boxes), np.concatenate(scores))

    return detect


def once(boxes: Floats, scores: Floats) -> Floats:
    """Return the boxes without those that overlap a more certain one."""
    kept: list[Floats] = []
    for index in np.argsort(-scores):
        box = boxes[index]
        if all(overlap(box, other) < SAME for other in kept):
            kept.append(box)
    return np.array(kept, np.float32).reshape(-1, 4)


def overlap(one: Floats, other: Floats) -> float:
    """Return the intersection of two boxes over their union."""
    shared = np.prod(
        np.clip(np.minimum(one[2:], other[2:]) - np.maximum(one[:2], other[:2]), 0, None)
    )
    areas = np.prod(one[2:] - one[:2]) + np.prod(other[2:] - other[:2])
    return float(shared / (areas - shared))


if __name__ == "__main__":
    main()
