"""The real channels on face batches: what an evaluation sends faces through."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from unmorph.channels.codecs import Channel


def send(channel: Channel, faces: Tensor, seeds: Sequence[int]) -> Tensor:
    """Return faces (N, 3, H, W) in [-1,1] as they arrive, in 8 bits and of their own size.

    Args:
        channel: a channel that leaves another size is followed by an attacker's crop: resized back.
        faces: rounded to 8 bits first, as a file holds them.
        seeds: one a face, for its noise and its jitter.
    """
    photos = ((faces.detach().cpu() + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    arrived = []
    for photo, seed in zip(photos.permute(0, 2, 3, 1).numpy(), seeds, strict=True):
        pixels = channel(np.ascontiguousarray(photo), seed)
        if pixels.shape != photo.shape:
            back = Image.fromarray(pixels).resize(photo.shape[1::-1], Image.Resampling.BILINEAR)
            pixels = np.asarray(back)
        arrived.append(pixels)
    return torch.from_numpy(np.stack(arrived)).permute(0, 3, 1, 2).to(faces) / 127.5 - 1
