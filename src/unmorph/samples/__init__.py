"""A photo to try things on.

``eileen-collins.jpg`` is NASA's portrait of the astronaut Eileen Collins (NASA, 1999, GRIN
database GPN-2000-001177), in the public domain; the crop is the one that scikit-image ships.
"""

from __future__ import annotations

from pathlib import Path

#: The portrait of Eileen Collins, 512 x 512.
PORTRAIT = Path(__file__).with_name("eileen-collins.jpg")
