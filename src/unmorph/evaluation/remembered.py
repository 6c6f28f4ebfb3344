"""Protected faces kept on disk: an attack of a minute a face serves for all channels."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unmorph.errors import DataError
from unmorph.evaluation.run import Subject
from unmorph.files import write_whole


class Remembered:
    """A defense that protects each face once and from then on reads it from a folder.

    A face's file is named by its pixels, its labels and ``about``: whatever differs there is
    another file.

    Args:
        defense: as `unmorph.evaluation.run.Subject` holds it; a face's result must not depend on
            the other faces of its batch.
        folder: takes a file of 200 KB for each face of 128x128.
        about: everything else that the result depends on.
    """

    def __init__(
        self, defense: Callable[[Tensor, Tensor | None], Tensor], folder: Path, about: str
    ) -> None:
        self._defense, self._folder, self._about = defense, folder, about.encode()

    def __call__(self, faces: Tensor, labels: Tensor | None) -> Tensor:
        """Return the protected faces.

        Raises:
            DataError: a file is damaged.
        """
        paths = [
            self._path(face, None if labels is None else labels[place])
            for place, face in enumerate(faces)
        ]
        new = [place for place, path in enumerate(paths) if not path.exists()]
        if new:
            made = self._defense(faces[new], None if labels is None else labels[new])
            for place, face in zip(new, made, strict=True):
                file = io.BytesIO()
                np.save(file, face.cpu().numpy())
                write_whole(paths[place], file.getvalue(), DataError)
        return torch.stack([_read(path) for path in paths]).to(faces)

    def _path(self, face: Tensor, labels: Tensor | None) -> Path:
        digest = hashlib.sha256(self._about)
        for values in (face, labels):
            if values is not None:
                digest.update(np.ascontiguousarray(values.cpu().numpy()).tobytes())
        return self._folder / f"{digest.hexdigest()[:32]}.npy"


def remember_faces(subject: Subject, folder: Path, seed: int) -> Subject:
    """Return a subject whose defense keeps the protected faces in a folder.

    Args:
        seed: of what the defense draws at random.
    """
    folder.mkdir(parents=True, exist_ok=True)
    taking_part = [subject.about["deepfake"], subject.about["defense"], subject.code, seed]
    about = json.dumps(taking_part, sort_keys=True)
    return replace(subject, defense=Remembered(subject.defense, folder, about))


def _read(path: Path) -> Tensor:
    try:
        return torch.from_numpy(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path}: damaged; remove it ({error})") from error
