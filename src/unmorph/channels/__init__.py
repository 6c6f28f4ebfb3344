"""What happens to a photo on its way to a deepfake; `differentiable` is the form for training."""

from unmorph.channels.codecs import ANSWERS, STANDARD, Channel, load, names

__all__ = ["ANSWERS", "STANDARD", "Channel", "load", "names"]
