"""``unmorph demo``: see the protection at work in one picture."""

from __future__ import annotations

from pathlib import Path

import typer

from unmorph.cli._options import OVERWRITE, refuse_picture
from unmorph.cli._progress import progress


def command(
    photo: Path | None = typer.Argument(
        None, metavar="[PHOTO]", help="A photo with a face; by default NASA's Eileen Collins."
    ),
    out: Path = typer.Option(Path("unmorph-demo.png"), "-o", "--out", help="The picture to make."),
    strength: str = typer.Option(
        "subtle", metavar="subtle|strong", help="As `unmorph protect` takes it."
    ),
    refine: int = typer.Option(
        0, min=0, max=100, metavar="N", help="As `unmorph protect` takes it."
    ),
    overwrite: bool = OVERWRITE,
    max_megapixels: float = typer.Option(100.0, min=0, help="Refuse larger photos."),
    threads: int | None = typer.Option(None, min=1, help="Cores to use; by default all."),
) -> None:
    """Draw what StarGAN makes of a photo before and after its protection."""
    import numpy as np
    from PIL import Image

    from unmorph.checking import suppression
    from unmorph.errors import PhotoError
    from unmorph.photo import Photo, read, write
    from unmorph.protector import Protector
    from unmorph.runtime import CLASSIFIER, SHIPPED, OnnxClassifier, OnnxDeepfake
    from unmorph.samples import PORTRAIT
    from unmorph.showcase import show

    photo = photo or PORTRAIT
    refuse_picture("--out", out, (photo,), overwrite=overwrite)
    Image.MAX_IMAGE_PIXELS = None  # --max-megapixels decides
    pixels = read(photo, max_megapixels=max_megapixels).pixels
    deepfake = OnnxDeepfake(SHIPPED / "stargan.onnx", threads)
    classifier = OnnxClassifier(CLASSIFIER, threads)
    try:
        with progress(refine) as (_, advance):
            protector = Protector.load(
                strength=strength, refine=refine, threads=threads, on_step=advance
            )
            shown = show(pixels, protector, deepfake, classifier)
    except PhotoError as error:
        raise PhotoError(f"{photo}: {error}; choose a photo that shows one") from error
    write(Photo(np.asarray(shown.picture)), out)
    typer.echo(f"The protected face is {shown.psnr:.1f} dB close to the original.")
    for edit, (before, after) in shown.moved.items():
        typer.echo(
            f"{edit:11} moved the face by {before:.4f}, now by {after:.4f}: "
            f"{suppression(before, after):.0%} suppressed"
        )
    typer.echo(f"See {out}")
