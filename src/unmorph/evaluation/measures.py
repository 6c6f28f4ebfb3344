"""The metrics as an evaluation runs them: what depends on one batch alone is computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unmorph import metrics
from unmorph.errors import ConfigError
from unmorph.weights.catalog import entry

#: Names in the order of the paper's tables; ``l2`` is always measured.
FAST = ("l2", "psnr", "ssim")
SLOW = ("perceptual", "lpips", "lbp")
ALL = (*FAST, *SLOW)


@dataclass(frozen=True)
class Measure:
    """One metric.

    Attributes:
        prepare: what is computed from each batch of faces once, however many it is compared with.
        compare: two prepared batches to a figure an image (N,).
    """

    prepare: Callable[[Tensor], Any]
    compare: Callable[[Any, Any], Tensor]


def _same(faces: Tensor) -> Tensor:
    return faces


def parse_measures(text: str) -> tuple[str, ...]:
    """Read ``fast``, ``all``, or names with commas between them; ``l2`` is always among them.

    Raises:
        ConfigError: a name is unknown; the message lists the choices.
    """
    groups = {"fast": FAST, "all": ALL}
    wanted: set[str] = {"l2"}
    for name in (part.strip() for part in text.split(",")):
        if name not in groups and name not in ALL:
            choices = ", ".join([*groups, *ALL])
            raise ConfigError(f"unknown metric {name!r}; choose from {choices}")
        wanted.update(groups.get(name, (name,)))
    return tuple(name for name in ALL if name in wanted)


#: The stored networks that a metric runs.
_NETWORKS = {"perceptual": ("vgg16",), "lpips": ("alexnet", "lpips-alex")}


def measure_weights(names: Sequence[str]) -> dict[str, str]:
    """Return the SHA-256 of the weights that the named metrics run, by their catalog's name."""
    return {network: entry(network).sha256 for name in names for network in _NETWORKS.get(name, ())}


def load_measures(names: Sequence[str], device: torch.device) -> dict[str, Measure]:
    """Build the named metrics; the networks come from the weights store.

    Raises:
        WeightsError: a network's weights cannot be had.
    """
    measures: dict[str, Measure] = {}
    for name in names:
        if name == "perceptual":
            from unmorph.perceptual import VGGFeatures, feature_distance

            # channels_last runs a fifth faster on a CPU.
            features = VGGFeatures().to(  # type: ignore[call-overload]
                device, memory_format=torch.channels_last
            )
            measures[name] = Measure(features, feature_distance)
        elif name == "lpips":
            network = metrics.LPIPS().to(device)
            measures[name] = Measure(network.activations, network.compare)
        elif name == "lbp":
            measures[name] = Measure(metrics.lbp_maps, metrics.lbp_difference)
        else:
            measures[name] = Measure(_same, getattr(metrics, name))
    return measures
