"""Measure how CelebA frames a face: the constants of `unmorph.faces.crop`.

Takes the folder of ``img_align_celeba.zip`` and ``list_eval_partition.txt``; looks at validation
photos only, in the paper's 178 x 178 square.
"""

from __future__ import annotations

import argparse
import io
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from unmorph.faces.crop import frame
from unmorph.faces.detect import FaceDetector

SIDE, ABOVE = 178, 20  # the centre square of 178 x 218


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=250)
    arguments = parser.parse_args()

    lines = (arguments.folder / "list_eval_partition.txt").read_text().splitlines()
    validation = {name for name, part in map(str.split, lines) if part == "1"}
    detector = FaceDetector(threads=1)
    landmarks = []
    with zipfile.ZipFile(arguments.folder / "img_align_celeba.zip") as archive:
        names = sorted(name for name in archive.namelist() if Path(name).name in validation)
        names = names[:: max(1, len(names) // arguments.count)][: arguments.count]
        for name in names:
            with Image.open(io.BytesIO(archive.read(name))) as image:
                faces = detector.detect(np.asarray(image.convert("RGB")))
            landmarks += [face.landmarks for face in faces[:1]]
    print(f"{len(landmarks)} of {len(names)} photos show a face")

    points = (np.stack(landmarks) - (0, ABOVE)) / SIDE
    typical = np.median(points, axis=0)
    for name, (x, y) in zip(
        ("left eye", "right eye", "nose", "left of mouth", "right of mouth"), typical, strict=True
    ):
        print(f"{name:15} {x:.4f} {y:.4f}")
    eyes, mouth = typical[:2].mean(axis=0), typical[3:].mean(axis=0)
    apart = np.hypot(*(typical[1] - typical[0]))
    print(f"SPAN = {np.hypot(apart, np.hypot(*(mouth - eyes))):.4f}")
    print(f"RISE = {(eyes + mouth)[1] / 2 - 0.5:.4f}")

    squares = np.array([(s.left, s.top - ABOVE, s.size) for s in map(frame, landmarks)])
    centres = squares[:, :2] + squares[:, 2:] / 2 - SIDE / 2
    print(f"with the present constants: median size {np.median(squares[:, 2]):.0f} (true: {SIDE})")
    print(f"mean |error|: size {np.abs(squares[:, 2] - SIDE).mean():.1f} pixels, ", end="")
    print("centre {:.1f} across, {:.1f} down".format(*np.abs(centres).mean(axis=0)))


if __name__ == "__main__":
    main()
