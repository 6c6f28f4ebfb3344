"""Measure what each file format keeps of the protection, and what small or grey faces get of it.

Usage: python scripts/measure_formats.py --lfw LFW --ffhq FFHQ [--limit 10] [-o RECORD]

Photos are protected by the shipped defense, saved and read again; the shipped deepfake's edits of
the largest face then say what is left of the protection, as `unmorph check` does. FFHQ's are
enlarged four times, to stand for faces of about a thousand pixels. LFW's are also shrunk, and made
grey, and then saved as PNG only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unmorph.checking import DEEPFAKES, Checker
from unmorph.datasets.named import load_named
from unmorph.photo import Photo, decode, encode
from unmorph.protector import DEFAULT_STRENGTH, Protector
from unmorph.runtime import SHIPPED, shipped_defense
from unmorph.weights.store import sha256

#: Formats and qualities to try.
WAYS: tuple[tuple[str, int | None], ...] = (
    ("png", None),
    *(("jpeg", quality) for quality in (75, 85, 90, 95, 98, 100)),
    ("webp", None),
    ("webp", 90),
    ("avif", 95),
)

#: The photos: of which set, how many times enlarged, whether made grey, and how they are saved.
SCENES: tuple[tuple[str, float, bool, tuple[tuple[str, int | None], ...]], ...] = (
    ("lfw", 1, False, WAYS),
    ("ffhq", 4, False, WAYS),
    *(("lfw", scale, False, WAYS[:1]) for scale in (1 / 2, 1 / 3, 1 / 4)),
    ("lfw", 1, True, WAYS[:1]),
)

#: The quality of the originals, to which sizes are compared.
ORIGINAL = 92


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--ffhq", type=Path, required=True)
    parser.add_argument("--limit", type=int, default=10, help="photos of each set")
    parser.add_argument("-o", "--out", type=Path, help="write the figures as JSON")
    options = parser.parse_args()
    checker, protector = Checker.load(), Protector.load()
    rows = []
    for name, scale, grey, ways in SCENES:
        dataset = load_named(name, getattr(options, name))
        suppressions: dict[tuple[str, int | None], list[float]] = {way: [] for way in ways}
        sizes: dict[tuple[str, int | None], list[float]] = {way: [] for way in ways}
        sides = []
        for member in dataset.names[: options.limit]:
            picture = dataset.source.read(member)
            if grey:
                picture = picture.convert("L").convert("RGB")
            size = (round(picture.width * scale), round(picture.height * scale))
            photo = Photo(np.asarray(picture.resize(size, Image.Resampling.BICUBIC)))
            result = protector.protect_photo(photo.pixels, largest=1)
            if not result.faces:
                continue
            sides.append(result.squares[0].size)
            before = len(encode(photo, "jpeg", quality=ORIGINAL))
            for form, quality in ways:
                data = encode(Photo(result.pixels), form, quality=quality)
                there = decode(data, member).pixels
                face = checker.check(photo.pixels, there, {"none": lambda pixels: pixels})[0]
                counted = [e.suppression for e in face.channels["none"] if e.counted]
                suppressions[form, quality] += [s for s in counted if s is not None]
                sizes[form, quality].append(len(data) / before)
        for form, quality in ways:
            pairs, photos = suppressions[form, quality], sizes[form, quality]
            rows.append(
                {
                    "set": name,
                    "scale": round(scale, 3),
                    "grey": grey,
                    "square": float(np.median(sides)),
                    "format": form,
                    "quality": quality,
                    "photos": len(photos),
                    "pairs": len(pairs),
                    "s": float(np.mean(pairs)),
                    "size": float(np.mean(photos)),
                }
            )
            print("  ".join(f"{key} {value}" for key, value in rows[-1].items()))
    if options.out:
        networks = (
            shipped_defense(DEFAULT_STRENGTH),
            *(SHIPPED / file for file in DEEPFAKES.values()),
        )
        record: dict[str, Any] = {
            "original": f"jpeg {ORIGINAL}",
            "networks": {path.name: sha256(path) for path in networks},
            "rows": rows,
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
