"""The deepfakes that unmorph defends against, by name; every module here may register some."""

from unmorph.deepfakes.base import Deepfake, load, names, register
from unmorph.registry import import_modules

__all__ = ["Deepfake", "load", "names", "register"]

import_modules(__name__, __path__)
