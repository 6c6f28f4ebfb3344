"""Where and how networks run fastest: channels last, and half precision where asked for."""

from __future__ import annotations

from typing import Any, TypeVar

import torch
from torch import nn

from unmorph.errors import ConfigError

Network = TypeVar("Network", bound=nn.Module)


def channels_last(network: Network) -> Network:
    """Lay out a network's weights with the channels last, in place, and return it."""
    layout: Any = {"memory_format": torch.channels_last}  # torch's own types do not know it
    return network.to(**layout)


def find_device(name: str) -> torch.device:
    """Return the device of a name (``cpu``, ``cuda``, ``cuda:1`` ...).

    Raises:
        ConfigError: there is no such device.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ConfigError(f"device {name}: cannot be used here ({error}); try cpu") from error
    return device


def open_device(name: str) -> torch.device:
    """Return a device set up for speed, at some cost in precision.

    Raises:
        ConfigError: there is no such device.
    """
    device = find_device(name)
    if device.type == "cuda":
        torch.backends.cudnn.benchmark = True
        torch.set_float32_matmul_precision("high")
    return device


def autocast(precision: str, device: str = "cpu") -> torch.autocast:
    """Return the context that a ``precision`` (``fp32`` or ``bf16``) asks for."""
    return torch.autocast(device, torch.bfloat16, enabled=precision == "bf16")
