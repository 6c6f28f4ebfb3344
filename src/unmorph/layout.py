"""How networks run fastest on a CPU: channels last, and half precision where asked for."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """Lay out a network's weights with the channels last, in place, and return it."""
    layout: Any = {"memory_format": torch.channels_last}  # torch's own types do not know it
    return network.to(**layout)


def autocast(precision: str, device: str = "cpu") -> torch.autocast:
    """Return the context that a ``precision`` (``fp32`` or ``bf16``) asks for."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
