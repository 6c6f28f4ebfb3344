"""From a publisher's download to the file that is kept.

Each function returns bytes; the store accepts them only if their SHA-256 is the catalog's, so a
conversion is verified to the bit whatever the download was.
"""

from __future__ import annotations

import pickle
import zipfile
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from unmorph.errors import MissingExtraError

#: The module that takes a download apart and is no part of the base install, by its suffix.
_NEEDED = {".pth": "torch", ".h5": "h5py"}

#: What is raised for damaged files by those who read archives, pickles and tensors.
UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    AttributeError,
    LookupError,
    RuntimeError,
    zipfile.BadZipFile,
    pickle.UnpicklingError,
)


def refuse_without(download: str) -> None:
    """Refuse, before the download, what could not be unpacked after it.

    Args:
        download: the name of the publisher's file.

    Raises:
        MissingExtraError: a module is missing; the message holds the pip command.
    """
    module = _NEEDED.get(PurePosixPath(download).suffix)
    if module is not None and find_spec(module) is None:
        raise MissingExtraError(
            f'unpacking {download} needs {module}: pip install "unmorph[train]"'
        )


def stargan_generator(path: Path) -> bytes:
    """Take the generator's checkpoint out of the publisher's zip."""
    with zipfile.ZipFile(path) as archive:
        member = next((n for n in archive.namelist() if n.endswith("200000-G.ckpt")), None)
        if member is None:
            raise KeyError("no 200000-G.ckpt in the zip")
        return archive.read(member)


def alexnet_features(path: Path) -> bytes:
    """Keep the convolutions ``features.*`` of torchvision's AlexNet."""
    return _checkpoint_tensors(path, prefix="features.")


def lpips_heads(path: Path) -> bytes:
    """Keep the linear heads ``lin*`` of the LPIPS repository's checkpoint."""
    return _checkpoint_tensors(path, prefix="lin")


def _checkpoint_tensors(path: Path, *, prefix: str) -> bytes:
    import torch
    from safetensors.torch import save

    state = torch.load(path, map_location="cpu", weights_only=True)
    return save({key: value.contiguous() for key, value in state.items() if key.startswith(prefix)})


def vgg16_convolutions(path: Path) -> bytes:
    """Turn Keras' HWIO kernels of conv1_1 ... conv4_3 into OIHW."""
    import h5py
    import numpy as np
    from safetensors.numpy import save

    tensors = {}
    with h5py.File(path) as file:
        for block, count in {1: 2, 2: 2, 3: 3, 4: 3}.items():
            for index in range(1, count + 1):
                key = f"block{block}_conv{index}"
                kernel = file[f"{key}/{key}_W_1:0"][()]
                tensors[f"{key}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
                tensors[f"{key}.bias"] = file[f"{key}/{key}_b_1:0"][()]
    return save(tensors)
