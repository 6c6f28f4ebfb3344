"""The real channels on face batches: what an evaluation sends faces through."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unmorph.channels.codecs import Channel, Seed
from unmorph.levels import to_faces, to_photos


def own_seeds(seed: int, places: Iterable[int]) -> list[tuple[int, int, int]]:
    """Return what the noise and the jitter of an evaluation's faces or photos are drawn from.

    Never what an attack draws from, which counts its looks from 0: a defense must not have seen the
    very crops that it is measured on.

    Args:
        seed: of the evaluation.
        places: the faces' own in their set.
    """
    return [(seed, place, 1) for place in places]  # numpy takes (0, 0) for 0, and (2, 0) for 2


def send(channel: Channel, faces: Tensor, seeds: Sequence[Seed]) -> Tensor:
    """Return faces (N, 3, H, W) in [-1,1] as they arrive, in 8 bits and of their own size.

    Args:
        channel: a channel that leaves another size is followed by an attacker's crop: resized back.
        faces: rounded to 8 bits first, as a file holds them.
        seeds: one a face, for its noise and its jitter.
    """
    photos = to_photos(faces.detach().cpu().numpy())
    arrived = []
    for photo, seed in zip(photos, seeds, strict=True):
        pixels = channel(photo, seed)
        if pixels.shape != photo.shape:
            back = Image.fromarray(pixels).resize(photo.shape[1::-1], Image.Resampling.BILINEAR)
            pixels = np.asarray(back)
        arrived.append(pixels)
    return torch.from_numpy(to_faces(np.stack(arrived))).to(faces)
