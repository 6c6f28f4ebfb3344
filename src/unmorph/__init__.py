"""Protects portraits against deepfake editing: the edit gives back the photo it was given.

>>> import numpy, unmorph
>>> photo = numpy.zeros((480, 640, 3), dtype=numpy.uint8)  # RGB
>>> unmorph.protect(photo).shape
(480, 640, 3)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["ProtectedPhoto", "Protector", "__version__", "protect"]

if TYPE_CHECKING:
    from unmorph.protector import ProtectedPhoto, Protector, protect


def __dir__() -> list[str]:
    return sorted(__all__)


def __getattr__(name: str) -> Any:
    # ONNX Runtime takes a moment to load: only whoever protects a photo waits for it.
    if name in __all__:
        from unmorph import protector

        return getattr(protector, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
