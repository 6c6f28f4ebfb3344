"""Defenses against deepfakes, by name: faces in, protected faces out.

Every module here may register some.
"""

from unmorph.defenses.base import Defense, load, names, register
from unmorph.defenses.floors import NoDefense, UniformNoise
from unmorph.defenses.generator import PerturbationGenerator
from unmorph.defenses.ifgsm import IFGSM
from unmorph.defenses.iterative import IterativeDefense
from unmorph.defenses.l2 import L2PGD
from unmorph.defenses.learned import LearnedDefense, Refine
from unmorph.defenses.mifgsm import MIFGSM
from unmorph.defenses.pgd import PGD
from unmorph.registry import import_modules

__all__ = [
    "IFGSM",
    "L2PGD",
    "MIFGSM",
    "PGD",
    "Defense",
    "IterativeDefense",
    "LearnedDefense",
    "NoDefense",
    "PerturbationGenerator",
    "Refine",
    "UniformNoise",
    "load",
    "names",
    "register",
]

import_modules(__name__, __path__)
