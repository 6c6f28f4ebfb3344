"""Defenses against deepfakes: faces in, protected faces out."""

from unmorph.defenses.base import Defense
from unmorph.defenses.generator import PerturbationGenerator

__all__ = ["Defense", "PerturbationGenerator"]
