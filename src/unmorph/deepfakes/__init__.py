"""The deepfakes that unmorph defends against, by name."""

from unmorph.deepfakes import fast_aginggan as _fast_aginggan
from unmorph.deepfakes import stargan as _stargan
from unmorph.deepfakes.base import Deepfake, load, names, register

__all__ = ["Deepfake", "load", "names", "register"]

del _fast_aginggan, _stargan
