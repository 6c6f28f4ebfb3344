"""What happens to a photo on its way to a deepfake.

`differentiable` is the form for training, `backward` its way back without torch.
"""

from unmorph.channels.codecs import (
    ANSWERS,
    CROPS,
    EXPECTED,
    STANDARD,
    Channel,
    load,
    names,
    still_names,
)

__all__ = [
    "ANSWERS",
    "CROPS",
    "EXPECTED",
    "STANDARD",
    "Channel",
    "load",
    "names",
    "still_names",
]
