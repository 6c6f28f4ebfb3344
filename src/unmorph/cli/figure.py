"""``unmorph figure``: the paper's figures 3 and 4, what gets through, and the heat map."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from unmorph.cli._extras import require_torch
from unmorph.cli._options import EPSILON, SEED, refuse_picture

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from unmorph.evaluation.figures import Protect
    from unmorph.evaluation.run import Deepfake

app = typer.Typer(
    no_args_is_help=True,
    help="Draw the paper's figures of chosen faces, what gets through, and a heat map, as PNG.",
)

_DATA = typer.Option(
    ..., help="Folder or zip of a set's photos, or one photo, whose faces are found."
)
_OUT = typer.Option(..., "-o", "--output", dir_okay=False, help="The PNG file to write.")
_FACE = typer.Option([0], help="A face's place in the set, from 0; repeatable.")
_DATASET = typer.Option("celeba", help="celeba, lfw, ffhq, or folder (any faces).")
_SPLIT = typer.Option("test", help="CelebA's partition: train, val or test.")
_DEEPFAKE = typer.Option("stargan", help="A deepfake's name, or an ONNX file.")
_WEIGHTS = typer.Option(None, help="Weights in place of the shipped ones.")
_LABELLER = typer.Option(None, help="ONNX classifier for sets without labels.")
_DEVICE = typer.Option("cpu", help="Where torch runs: cpu, cuda, cuda:1 ...")

_DEFENSE_HELP = "A defense's name, with options after a colon, or an ONNX file"


@app.command()
def edits(
    data: Path = _DATA,
    output: Path = _OUT,
    face: list[int] = _FACE,
    defense: str = typer.Option("shipped", metavar="NAME[:KEY=VALUE,...]", help=_DEFENSE_HELP),
    dataset: str = _DATASET,
    split: str = _SPLIT,
    deepfake: str = _DEEPFAKE,
    deepfake_weights: Path | None = _WEIGHTS,
    labeller: Path | None = _LABELLER,
    epsilon: float | None = EPSILON,
    seed: int = SEED,
    device: str = _DEVICE,
) -> None:
    """Draw all edits of each face without and with a defense (the paper's figure 3)."""
    require_torch()
    _refuse(output, data)
    from unmorph.evaluation.figures import draw_edits
    from unmorph.evaluation.participants import open_deepfake

    network, edited_by = open_deepfake(deepfake, deepfake_weights, device)
    methods, used = _protecting([defense], network, epsilon, seed)
    ((method, protect),) = methods.items()
    faces, labels, labelled_by = _load(data, dataset, split, face, labeller, network, device)
    picture = draw_edits(network, protect, faces, labels)
    caption = f"Figure 3: edits of {edited_by['name']} without and with the defense {method}"
    caption += f"; {_whose(data, dataset, split, face)}"
    _save(picture, output, caption, [edited_by, *used, labelled_by])


@app.command()
def differences(
    data: Path = _DATA,
    output: Path = _OUT,
    face: list[int] = _FACE,
    defense: list[str] = typer.Option(
        ["pgd-paper", "shipped"],
        metavar="NAME[:KEY=VALUE,...]",
        help=f"{_DEFENSE_HELP}; repeatable.",
    ),
    edit: str | None = typer.Option(
        None, help="The edit that the deepfake makes: Blond_Hair, or else the first, by default."
    ),
    dataset: str = _DATASET,
    split: str = _SPLIT,
    deepfake: str = _DEEPFAKE,
    deepfake_weights: Path | None = _WEIGHTS,
    labeller: Path | None = _LABELLER,
    epsilon: float | None = EPSILON,
    seed: int = SEED,
    device: str = _DEVICE,
) -> None:
    """Draw how protected faces differ from their edits, in pixels and LBP (figure 4)."""
    require_torch()
    _refuse(output, data)
    from unmorph.evaluation.figures import AMPLIFIED, draw_differences
    from unmorph.evaluation.participants import open_deepfake

    network, edited_by = open_deepfake(deepfake, deepfake_weights, device)
    edit = edit or ("Blond_Hair" if "Blond_Hair" in network.edits else network.edits[0])
    methods, used = _protecting(defense, network, epsilon, seed)
    faces, labels, labelled_by = _load(data, dataset, split, face, labeller, network, device)
    picture = draw_differences(network, methods, faces, labels, edit)
    caption = (
        f"Figure 4: difference of x_adv and G(x_adv) under {edited_by['name']}, {edit}, pixels "
        f"(x {AMPLIFIED}) and LBP; {_whose(data, dataset, split, face)}"
    )
    _save(picture, output, caption, [edited_by, *used, labelled_by])


@app.command()
def failures(
    data: Path = _DATA,
    output: Path = _OUT,
    limit: int = typer.Option(50, min=1, help="Search among so many of the first faces."),
    count: int = typer.Option(3, min=1, help="Edits to show of each channel."),
    channel: list[str] = typer.Option(
        ["none", "jpeg-75", "jitter"],
        help="What befalls the faces on their way, as in `unmorph evaluate`; repeatable.",
    ),
    defense: str = typer.Option("shipped", metavar="NAME[:KEY=VALUE,...]", help=_DEFENSE_HELP),
    dataset: str = _DATASET,
    split: str = _SPLIT,
    deepfake: str = _DEEPFAKE,
    deepfake_weights: Path | None = _WEIGHTS,
    labeller: Path | None = _LABELLER,
    epsilon: float | None = EPSILON,
    seed: int = SEED,
    device: str = _DEVICE,
) -> None:
    """Draw the edits that a defense stops least, after each channel."""
    require_torch()
    _refuse(output, data)
    from unmorph import channels
    from unmorph.evaluation.figures import draw_failures
    from unmorph.evaluation.participants import open_deepfake

    sent = {name: None if name == "none" else channels.load(name) for name in channel}
    network, edited_by = open_deepfake(deepfake, deepfake_weights, device)
    methods, used = _protecting([defense], network, epsilon, seed)
    ((method, protect),) = methods.items()
    faces, labels, labelled_by = _load(data, dataset, split, limit, labeller, network, device)
    picture = draw_failures(network, protect, faces, labels, sent, count, seed)
    caption = f"What the defense {method} stops least of the edits of {edited_by['name']}"
    caption += f"; {_whose(data, dataset, split, range(len(faces)))}"
    _save(picture, output, caption, [edited_by, *used, labelled_by])


@app.command()
def heatmap(
    records: list[Path] = typer.Argument(..., help="JSON records that `unmorph evaluate` wrote."),
    output: Path = _OUT,
) -> None:
    """Draw which defense survives which channel, from records alone."""
    require_torch()
    _refuse(output, *records)
    from unmorph.evaluation.heatmap import draw_panels, panels
    from unmorph.evaluation.record import Record, read_record

    every = [read_record(path) for path in records]
    picture = draw_panels(panels(record for record in every if isinstance(record, Record)))
    _save(picture, output, "Strict DSR (in brackets the mean of s) by channel and defense")


def _refuse(output: Path, *data: Path) -> None:
    """Refuse, before the work, a figure that is no PNG or would replace what it is drawn of."""
    if output.suffix.lower() != ".png":
        raise typer.BadParameter(f"--output {output}: figures are PNG, name one that ends in .png")
    refuse_picture("--output", output, data)


def _protecting(
    defenses: list[str], deepfake: Deepfake, epsilon: float | None, seed: int
) -> tuple[dict[str, Protect], list[Mapping[str, Any]]]:
    """Return what protects faces, by the name that records give it, and what they say of it.

    It says so while it protects.

    Raises:
        ConfigError: two would have one name, and one of them no place in a figure.
    """
    from rich.console import Console

    from unmorph.cli._pairs import parse_defense
    from unmorph.errors import ConfigError
    from unmorph.evaluation.participants import open_defense
    from unmorph.evaluation.record import method_name

    def told(method: str, protect: Protect) -> Protect:
        def call(faces: Tensor, labels: Tensor) -> Tensor:
            with Console(stderr=True).status(f"{method} protects {len(faces)} faces"):
                return protect(faces, labels)

        return call

    found: dict[str, Protect] = {}
    used: list[Mapping[str, Any]] = []
    called: dict[str, str] = {}
    for text in defenses:
        name, options = parse_defense(text)
        opened, about = open_defense(name, deepfake, epsilon=epsilon, seed=seed, options=options)
        method = method_name(about)
        if method in called:
            raise ConfigError(
                f"--defense {called[method]} and --defense {text}: both would be called {method}; "
                "leave one out, or give its file another name"
            )
        called[method] = text
        found[method] = told(method, opened.protect)
        used.append(about)
    return found, used


def _load(
    data: Path,
    dataset: str,
    split: str,
    places: list[int] | int,
    labeller: Path | None,
    deepfake: Deepfake,
    device: str,
) -> tuple[Tensor, Tensor, Mapping[str, Any]]:
    """Return the faces at some places, or so many of the first, and their labels.

    Beside them stands what a record says of the network that read the labels, if one did.
    """
    from unmorph.attributes import are_attributes
    from unmorph.errors import ConfigError
    from unmorph.evaluation.participants import labeller_for

    count, read = _photo(data) if _is_photo(data) else _set(data, dataset, split, deepfake.size)
    if isinstance(places, int):
        places = list(range(min(places, count)))
    if wrong := [place for place in places if not 0 <= place < count]:
        raise ConfigError(f"no face {wrong[0]} in {data}; choose from 0 to {count - 1}")
    faces, labels = read(places)
    labelled_by: Mapping[str, Any] = {}
    wanted = labels is None and are_attributes(deepfake.edits)
    if opened := labeller_for(wanted, labeller):
        labels, labelled_by = opened(faces), opened.about
    if labels is None:  # these edits start from none
        labels = faces.new_zeros(len(faces), 0)
    return faces.to(device), labels.to(device), labelled_by


_Read = Callable[[list[int]], "tuple[Tensor, Tensor | None]"]


def _set(data: Path, dataset: str, split: str, size: int) -> tuple[int, _Read]:
    """Return how many faces a set has, and what reads some of them with their labels."""
    from unmorph.datasets.named import load_named
    from unmorph.evaluation.run import load_batch

    every = load_named(dataset, data, split)
    return len(every), lambda places: load_batch(every.subset(places), range(len(places)), size)


def _photo(path: Path) -> tuple[int, _Read]:
    """The same for the faces of one photo, framed as `unmorph protect` frames them."""
    import numpy as np
    import torch

    from unmorph.errors import PhotoError
    from unmorph.faces.crop import crop_square, frame
    from unmorph.faces.detect import FaceDetector
    from unmorph.photo import read

    pixels = read(path).pixels
    squares = [frame(face.landmarks) for face in FaceDetector().detect(pixels)]
    if not squares:
        raise PhotoError(f"{path}: no face found; give a photo that shows one")

    def cut(places: list[int]) -> tuple[Tensor, None]:
        faces = [crop_square(pixels, squares[place]) for place in places]
        return torch.from_numpy(np.stack(faces)), None

    return len(squares), cut


def _is_photo(data: Path) -> bool:
    return data.is_file() and data.suffix.lower() != ".zip"


def _whose(data: Path, dataset: str, split: str, places: Sequence[int]) -> str:
    name = f"{dataset} {split}" if dataset == "celeba" else dataset
    if _is_photo(data):
        name = data.name
    if isinstance(places, range) and len(places) > 1:
        return f"{name}, faces 0 to {places[-1]}"
    return f"{name}, {'face' if len(places) == 1 else 'faces'} {', '.join(map(str, places))}"


def _networks(about: object) -> Iterator[str]:
    """Yield the file and the SHA-256 of each network that a record would name, however deep."""
    if isinstance(about, Mapping):
        if "file" in about and "sha256" in about:
            yield f"{about['file']} {about['sha256']}"
        for entry in about.values():
            yield from _networks(entry)
    elif isinstance(about, list):
        for entry in about:
            yield from _networks(entry)


def _save(
    picture: Image, output: Path, caption: str, used: Sequence[Mapping[str, Any]] = ()
) -> None:
    """Write a figure with its caption, and with what drew it unless only records did.

    Args:
        used: what a record would say of each network that took part.
    """
    import io

    from PIL.PngImagePlugin import PngInfo

    from unmorph import __version__
    from unmorph.errors import DataError
    from unmorph.evaluation.environment import commit
    from unmorph.files import write_whole

    about = PngInfo()
    about.add_text("Description", caption)
    if used:
        code = commit()
        about.add_text("Networks", ", ".join(dict.fromkeys(_networks(list(used)))))
        about.add_text("Software", f"unmorph {__version__}" + (f", commit {code}" if code else ""))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", pnginfo=about)
    write_whole(output, buffer.getvalue(), DataError)
    typer.echo(f"wrote {output}")
