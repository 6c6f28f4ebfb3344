"""The attacker's cheapest answer: the edit applied again to its own output."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from unmorph.errors import ConfigError
from unmorph.evaluation.run import Deepfake, Subject


class Repeated:
    """A deepfake that applies each edit several times, every time to what the last one made."""

    def __init__(self, deepfake: Deepfake, times: int) -> None:
        self._deepfake, self.times = deepfake, times
        self.edits, self.size = deepfake.edits, deepfake.size

    def targets(self, edit: str, labels: Tensor, /) -> Tensor:
        """Return what an edit asks for, given the present labels."""
        return self._deepfake.targets(edit, labels)

    def edit(self, faces: Tensor, edit: Tensor | str, /) -> Tensor:
        """Return G(...G(faces))."""
        for _ in range(self.times):
            faces = self._deepfake.edit(faces, edit)
        return faces


def repeat_edits(subject: Subject, times: int) -> Subject:
    """Return a subject whose deepfake applies every edit so many times, and says so.

    Raises:
        ConfigError: ``times`` is less than 1.
    """
    if times < 1:
        raise ConfigError(f"an edit applied {times} times: expected 1 or more")
    if times == 1:
        return subject
    about = {**subject.about, "deepfake": {**subject.about["deepfake"], "applied": times}}
    return replace(subject, deepfake=Repeated(subject.deepfake, times), about=about)
