"""I-FGSM (Kurakin et al. 2017): signed gradient steps from the face itself."""

from __future__ import annotations

from unmorph.defenses.base import register
from unmorph.defenses.iterative import AttackOptions, IterativeDefense


@register("i-fgsm", AttackOptions(step_size=0.001, schedule="constant"))
class IFGSM(IterativeDefense):
    """The plain loop."""
