"""The networks that unmorph uses and did not train: where they come from and how to tell them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from unmorph.errors import ConfigError
from unmorph.weights import convert


@dataclass(frozen=True)
class WeightsEntry:
    """One file of weights.

    Attributes:
        name: how commands and code call it.
        filename: the file that is kept, in a mirror folder and in the cache.
        sha256: SHA-256 of that file, always checked.
        licence: the publisher's terms.
        preprocessing: what the network expects of its input.
        note: what it is, and what it is for.
        url: the official source; None where only a mirror folder can serve.
        unpack: turns the official download into the bytes of `filename`; None where it is them.
    """

    name: str
    filename: str
    sha256: str
    licence: str
    preprocessing: str
    note: str
    url: str | None
    unpack: Callable[[Path], bytes] | None = None

    @property
    def download_name(self) -> str | None:
        """The official download's own file name."""
        return PurePosixPath(self.url.split("?")[0]).name if self.url else None


_STARGAN_INPUT = (
    "RGB in [-1,1] and target labels Black_Hair, Blond_Hair, Brown_Hair, Male, Young of 0 and 1"
)

_ENTRIES = (
    WeightsEntry(
        name="stargan-celeba-128",
        filename="stargan-celeba-128-200000-G.ckpt",
        sha256="5d8ee48fa2f5232f4bc0919a9ec795409041181688a1e0f596adec754b3ddd5c",
        licence="MIT (code); trained on CelebA: non-commercial research only",
        preprocessing=f"128x128, {_STARGAN_INPUT}",
        note="StarGAN's published generator (Choi et al. 2018), the 200000-G.ckpt of the zip",
        url="https://www.dropbox.com/s/7e966qq0nlxwte4/celeba-128x128-5attrs.zip?dl=1",
        unpack=convert.stargan_generator,
    ),
    WeightsEntry(
        name="stargan-celeba-256",
        filename="stargan-celeba-256-200000-G.ckpt",
        sha256="399a26023ec159fd3a9ddd04603bcb0fb34b647588a9e4e8acc9bf7da3774d44",
        licence="MIT (code); trained on CelebA: non-commercial research only",
        preprocessing=f"256x256, {_STARGAN_INPUT}",
        note="StarGAN's published generator (Choi et al. 2018), the 200000-G.ckpt of the zip",
        url="https://www.dropbox.com/s/zdq6roqf63m0v5f/celeba-256x256-5attrs.zip?dl=1",
        unpack=convert.stargan_generator,
    ),
    WeightsEntry(
        name="vgg16",
        filename="vgg16-conv1_1-conv4_3.safetensors",
        sha256="d193efd20ba0d6ad5247e6171afa5ef549d2953def75d90bfb6b837db6493a3c",
        licence="CC BY 4.0",
        preprocessing="BGR in 0..255 minus (103.939, 116.779, 123.68)",
        note="Oxford's VGG16 up to conv4_3, Keras' port of the Caffe model: loss and metric",
        url=(
            "https://github.com/fchollet/deep-learning-models/releases/download/v0.1/"
            "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
        ),
        unpack=convert.vgg16_convolutions,
    ),
    WeightsEntry(
        name="alexnet",
        filename="alexnet-features.safetensors",
        sha256="9f97fd313f4da83dbe6bbfbe6effca1241de9edfcd7c53386261ed9697286dd9",
        licence="BSD-3-Clause",
        preprocessing="RGB in [-1,1], then LPIPS' own shift and scale",
        note="torchvision's AlexNet, convolutions only: the trunk of LPIPS",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        unpack=convert.alexnet_features,
    ),
    WeightsEntry(
        name="lpips-alex",
        filename="lpips-alex-v0.1.safetensors",
        sha256="255d6454292d155a069f693a111769acec003d588617b250f24775369c816e04",
        licence="BSD-2-Clause",
        preprocessing="activations of the entry alexnet",
        note="LPIPS v0.1 linear heads for AlexNet (Zhang et al. 2018)",
        url=(
            "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/"
            "master/lpips/weights/v0.1/alex.pth"
        ),
        unpack=convert.lpips_heads,
    ),
    WeightsEntry(
        name="fast-aginggan",
        filename="fast-aginggan-generator.safetensors",
        sha256="2db0e248d4fe8a2618f34e3e428c2364d82811dfad3a23e916bc39db608f7a32",
        licence="MIT (code); trained on CACD2000: non-commercial research only",
        preprocessing="128x128, RGB in [-1,1] and a plane of the age group 0..4",
        note="Fast-AgingGAN's generator, a deepfake that changes apparent age",
        url=None,
    ),
    WeightsEntry(
        name="yunet",
        filename="yunet_n_dynamic.onnx",
        sha256="104ee26c71d5c270ce79a6b3dced91c91013260d29a6bf18f9296c5b8c4c2b12",
        licence="Apache-2.0",
        preprocessing="BGR in 0..255, sides a multiple of 32",
        note="the YuNet face detector, to measure the shipped detector against",
        url=(
            "https://raw.githubusercontent.com/ShiqiYu/libfacedetection.train/"
            "dca340aa082c71081a68d17db8e58b33a58a914b/onnx/yunet_n_dynamic.onnx"
        ),
    ),
)

_CATALOG = {item.name: item for item in _ENTRIES}


def names() -> tuple[str, ...]:
    """Return the names of all entries, in the catalog's order."""
    return tuple(_CATALOG)


def entry(name: str) -> WeightsEntry:
    """Return one entry.

    Raises:
        ConfigError: there is no entry of that name; the message lists the choices.
    """
    if name not in _CATALOG:
        raise ConfigError(f"unknown weights {name!r}; choose one of {', '.join(_CATALOG)}")
    return _CATALOG[name]
