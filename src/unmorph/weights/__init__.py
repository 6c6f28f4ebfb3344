"""Networks that unmorph did not train: a catalog with hashes, and a store that checks them."""

from unmorph.weights.catalog import WeightsEntry, entry, names
from unmorph.weights.store import load_tensors, locate

__all__ = ["WeightsEntry", "entry", "load_tensors", "locate", "names"]
