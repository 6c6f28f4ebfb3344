"""From a publisher's download to the file that is kept.

Each function returns bytes; the store accepts them only if their SHA-256 is the catalog's, so a
conversion is verified to the bit whatever the download was.
"""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

from unmorph.errors import MissingExtraError

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
    try:
        import torch
        from safetensors.torch import save
    except ImportError as error:
        raise MissingExtraError(
            f'Unpacking {path.name} needs torch: pip install "unmorph[train]"'
        ) from error
    state = torch.load(path, map_location="cpu", weights_only=True)
    return save({key: value.contiguous() for key, value in state.items() if key.startswith(prefix)})


def vgg16_convolutions(path: Path) -> bytes:
    """Turn Keras' HWIO kernels of conv1_1 ... conv4_3 into OIHW."""
    try:
        import h5py
        import numpy as np
        from safetensors.numpy import save
    except ImportError as error:
        raise MissingExtraError(
            f'Unpacking {path.name} needs h5py: pip install "unmorph[train]"'
        ) from error
    tensors = {}
    with h5py.File(path) as file:
        for block, count in {1: 2, 2: 2, 3: 3, 4: 3}.items():
            for index in range(1, count + 1):
                key = f"block{block}_conv{index}"
                kernel = file[f"{key}/{key}_W_1:0"][()]
                tensors[f"{key}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1))
                tensors[f"{key}.bias"] = file[f"{key}/{key}_b_1:0"][()]
    return save(tensors)
