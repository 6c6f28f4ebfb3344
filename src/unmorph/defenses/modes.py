"""Equation 1: where a defense drives the deepfake's output, L(G(x_adv), t).

| mode | t | the distance |
|---|---|---|
| ``invalid`` | x, the face itself | shrinks (the paper's PGD) |
| ``retain`` | x_adv, the protected face | shrinks (L_adv, as the generator is trained) |
| ``distortion`` | G(x), the edit of the unprotected face | grows |
| ``targeted`` | a given picture | shrinks |

The distance is the mean squared error, as everywhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from unmorph.datasets.base import centre_crop
from unmorph.errors import ConfigError
from unmorph.levels import to_faces
from unmorph.objectives import adversarial_loss, pixel_loss
from unmorph.photo import read
from unmorph.samples import PORTRAIT
from unmorph.weights.store import sha256


class Mode(ABC):
    """One choice of t and of the direction.

    Attributes:
        stationary: whether the loss has no gradient at x itself, so that an attack must step aside
            before it can start.
    """

    stationary = False

    @abstractmethod
    def target(self, faces: Tensor, edit: Callable[[Tensor], Tensor]) -> Tensor:
        """Return t for one edit.

        Args:
            faces: x, (N, 3, H, W).
            edit: G with that edit.
        """

    def loss(self, target: Tensor, protected: Tensor, edited: Tensor) -> Tensor:
        """Return what an attack minimises, (N,).

        Args:
            target: t.
            protected: x_adv.
            edited: G(x_adv) for the same edit.
        """
        return pixel_loss(target, edited)

    def about(self) -> dict[str, Any]:
        """Return what a record says beside the options."""
        return {}


class Invalid(Mode):
    """t = x: the edited photo looks like the unprotected one."""

    def target(self, faces: Tensor, edit: Callable[[Tensor], Tensor]) -> Tensor:
        return faces


class Retain(Invalid):
    """t = x_adv: the edit does nothing to the photo that it is given (equation 7)."""

    def loss(self, target: Tensor, protected: Tensor, edited: Tensor) -> Tensor:
        return adversarial_loss(protected, edited)


class Distortion(Mode):
    """t = G(x), driven away from: the edited photo is visibly broken."""

    stationary = True

    @torch.no_grad()
    def target(self, faces: Tensor, edit: Callable[[Tensor], Tensor]) -> Tensor:
        return edit(faces)

    def loss(self, target: Tensor, protected: Tensor, edited: Tensor) -> Tensor:
        return -super().loss(target, protected, edited)


class Targeted(Mode):
    """t = a given picture.

    Args:
        picture: (1, 3, H, W) in [-1,1]; resized to the faces where it is of another size.
        sha256: of the picture's file, where it came from one.
    """

    def __init__(self, picture: Tensor, sha256: str | None = None) -> None:
        self.picture, self.sha256 = picture, sha256

    @classmethod
    def from_file(cls, path: Path) -> Targeted:
        """Read the centred square of a photo.

        Raises:
            PhotoError: the file cannot be read.
        """
        photo = Image.fromarray(read(path).pixels)
        square = np.asarray(centre_crop(photo, min(photo.size)))
        return cls(torch.from_numpy(to_faces(square[None])), sha256(path))

    def about(self) -> dict[str, Any]:
        return {"picture_sha256": self.sha256}

    def target(self, faces: Tensor, edit: Callable[[Tensor], Tensor]) -> Tensor:
        return self.placed(faces)

    def placed(self, faces: Tensor) -> Tensor:
        """Return the picture for each face, of their shape."""
        picture = self.picture.to(faces)
        if picture.shape[2:] != faces.shape[2:]:
            picture = F.interpolate(
                picture, faces.shape[2:], mode="bilinear", align_corners=False, antialias=True
            )
        return picture.expand_as(faces)


_MODES = {"invalid": Invalid, "retain": Retain, "distortion": Distortion}

#: Pictures that need no path.
_OURS = {"portrait": PORTRAIT}

#: Names that `make_mode` takes.
NAMES = (*_MODES, "targeted")


def make_mode(name: str, picture: str = "") -> Mode:
    """Build a mode by name.

    Args:
        name: one of `NAMES`.
        picture: the photo that ``targeted`` takes as t: a path, or ``portrait``, the bundled one.

    Raises:
        ConfigError: the name is unknown, or the picture is missing or not wanted.
        PhotoError: the picture cannot be read.
    """
    if name not in NAMES:
        raise ConfigError(f"unknown mode {name!r}; choose one of {', '.join(NAMES)}")
    if (name == "targeted") != bool(picture):
        raise ConfigError(
            "the mode targeted, and only it, needs a picture: picture=PATH, or picture=portrait"
        )
    return Targeted.from_file(_OURS.get(picture) or Path(picture)) if picture else _MODES[name]()
