"""Measure how fast photos are protected, by stage and beside the least that any tool must do.

Usage: python scripts/bench.py [--weights DEFENSE.onnx] [--count 200] [--runs 5]

The photos are JPEGs composed of the sample portrait, and written as such again; encoding as PNG,
which ``unmorph protect`` does by default, stands beside it. The bound is decoding, detecting and
encoding alone; the ratio says how much more the whole takes in the same run. Times of a photo's
stages are medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image

from unmorph import batch
from unmorph.album import plan, search
from unmorph.journal import PROTECTED
from unmorph.photo import Photo, decode, encode
from unmorph.protector import DEFAULT_STRENGTH, Protector
from unmorph.runtime import shipped_defense
from unmorph.samples import PORTRAIT

#: Gradient steps that are timed together.
STEPS = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, default=shipped_defense(DEFAULT_STRENGTH))
    parser.add_argument("--count", type=int, default=200, help="portraits in the batch")
    parser.add_argument("--runs", type=int, default=5, help="runs of which the median is taken")
    options = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before")
    seconds = [imported() for _ in range(options.runs)]
    print(f"import unmorph: {statistics.median(seconds):.3f} s")
    start = time.perf_counter()
    protector = Protector.load(options.weights)
    print(f"load the networks: {time.perf_counter() - start:.2f} s\n")
    print(
        "photo                       MP  faces  decode detect defend encode  whole  whole/bound"
        "  as PNG"
    )
    for name, size, faces in (
        ("640 x 480, one face", (640, 480), 1),
        ("12 MP, one face", (4000, 3000), 1),
        ("12 MP, eight faces", (4000, 3000), 8),
    ):
        print(row(name, composed(size, faces), protector, options.runs))
    print(f"\npeak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
    print(f"a gradient step of --refine: {refined(options.runs):.2f} s a face")
    with tempfile.TemporaryDirectory() as folder:
        album(Path(folder), options.weights, options.count)


def imported() -> float:
    """Return how long a fresh interpreter takes to import the package."""
    code = "import time; t = time.perf_counter(); import unmorph; print(time.perf_counter() - t)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def composed(size: tuple[int, int], faces: int) -> bytes:
    """Return a JPEG with some faces on grey."""
    with Image.open(PORTRAIT) as portrait:
        columns = min(faces, 4)
        side = min(size[0] // columns, size[1] // -(-faces // columns))
        face = portrait.resize((side, side))
    photo = Image.new("RGB", size, "grey")
    for number in range(faces):
        photo.paste(face, (number % columns * side, number // columns * side))
    file = io.BytesIO()
    photo.save(file, "JPEG", quality=92)
    return file.getvalue()


def row(name: str, data: bytes, protector: Protector, runs: int) -> str:
    """Return a line of the table for one photo."""
    photo = decode(data, name)
    found = protector.detector.detect(photo.pixels)
    protected = protector.protect(photo.pixels)

    def defend() -> None:
        protector.protect_photo(photo.pixels, largest=0, boxes=[face.box for face in found])

    def whole() -> None:
        fresh = decode(data, name)
        pixels = protector.protect(fresh.pixels)
        encode(dataclasses.replace(fresh, pixels=pixels), "jpeg")

    stages: list[Callable[[], object]] = [
        lambda: decode(data, name),
        lambda: protector.detector.detect(photo.pixels),
        defend,
        lambda: encode(Photo(protected), "jpeg"),
        whole,
        lambda: encode(Photo(protected), "png"),
    ]
    *times, png = (median(stage, runs) for stage in stages)
    bound = times[0] + times[1] + times[3]
    megapixels = photo.pixels.shape[0] * photo.pixels.shape[1] / 1e6
    figures = " ".join(f"{value:6.3f}" for value in times)
    return (
        f"{name:26} {megapixels:4.1f} {len(found):6} {figures} {times[-1] / bound:12.2f} {png:7.3f}"
    )


def median(stage: Callable[[], object], runs: int) -> float:
    """Return the median time of some runs after a first one that warms up."""
    stage()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        stage()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def refined(runs: int) -> float:
    """Return what one of ten gradient steps takes, from the decoded portrait on."""
    photo = decode(composed((640, 480), 1), "portrait").pixels
    fast, slow = (Protector.load(refine=steps) for steps in (0, STEPS))
    return (
        median(lambda: slow.protect(photo), runs) - median(lambda: fast.protect(photo), runs)
    ) / STEPS


def album(folder: Path, weights: Path, count: int) -> None:
    """Print how many small portraits a second are protected, with one worker and with all."""
    data = composed((640, 480), 1)
    (folder / "in").mkdir()
    for number in range(count):
        (folder / "in" / f"{number}.jpg").write_bytes(data)
    jobs = plan(search([folder / "in"], folder / "out"))
    rates = []
    protector = Protector.load(weights, threads=1)
    for workers in (1, os.cpu_count() or 1):
        settings = batch.Settings()
        journals = batch.journals_for(jobs, settings, weights)
        start = time.perf_counter()
        outcomes = list(batch.run(protector, jobs, settings, journals, workers))
        rates.append(count / (time.perf_counter() - start))
        if any(outcome.status != PROTECTED for outcome in outcomes):
            raise SystemExit("a photo of the batch was not protected")
        print(f"{count} portraits of 640 x 480, {workers} at a time: {rates[-1]:.1f} a second")
    print(f"all cores against one: {rates[-1] / rates[0]:.2f}")


if __name__ == "__main__":
    main()
