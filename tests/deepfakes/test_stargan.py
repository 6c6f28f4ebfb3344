from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from unmorph import deepfakes
from unmorph.deepfakes.stargan import (
    Discriminator,
    Generator,
    InstanceNorm,
    load_generator,
)
from unmorph.errors import ConfigError, WeightsError
from unmorph.export import example_faces


def norm(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True, track_running_stats=True)


class PublishedBlock(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            norm(channels),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, 1, 1, bias=False),
            norm(channels),
        )

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.main(x)
        return out


class Published(nn.Module):
    """The generator of the paper's table 4 (Choi et al. 2018), out of torch's own layers."""

    def __init__(self) -> None:
        super().__init__()
        self.main = nn.Sequential(
            nn.Conv2d(8, 64, 7, 1, 3, bias=False), norm(64), nn.ReLU(),
            nn.Conv2d(64, 128, 4, 2, 1, bias=False), norm(128), nn.ReLU(),
            nn.Conv2d(128, 256, 4, 2, 1, bias=False), norm(256), nn.ReLU(),
            *(PublishedBlock(256) for _ in range(6)),
            nn.ConvTranspose2d(256, 128, 4, 2, 1, bias=False), norm(128), nn.ReLU(),
            nn.ConvTranspose2d(128, 64, 4, 2, 1, bias=False), norm(64), nn.ReLU(),
            nn.Conv2d(64, 3, 7, 1, 3, bias=False), nn.Tanh(),
        )  # fmt: skip

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        planes = targets.view(*targets.shape, 1, 1).repeat(1, 1, *faces.shape[2:])
        edited: Tensor = self.main(torch.cat([faces, planes], dim=1))
        return edited


@pytest.fixture(scope="module")
def published() -> Published:
    """With random weights, and running statistics that would spoil an output that used them."""
    torch.manual_seed(0)
    network = Published()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith("running_mean"):
                value.normal_(3.0)
            elif name.endswith("running_var"):
                value.uniform_(5, 9)
            elif value.ndim == 1:
                value.add_(0.3 * torch.randn_like(value))
    return network.requires_grad_(False)


@pytest.mark.parametrize("zipped", [True, False])  # the publisher's file is of the older format
def test_the_publishers_file_loads_as_it_is(
    published: Published, tmp_path: Path, zipped: bool
) -> None:
    state = published.state_dict()
    assert len(state) == 6 + 2 * 6 + 5 * (5 + 2 * 6)
    assert state["main.0.weight"].shape == (64, 8, 7, 7)
    assert state["main.9.main.3.weight"].shape == (256, 256, 3, 3)
    assert state["main.18.weight"].shape == (128, 64, 4, 4)
    assert "main.1.num_batches_tracked" in state
    path = tmp_path / "200000-G.ckpt"
    torch.save(state, path, _use_new_zipfile_serialization=zipped)
    deepfake = deepfakes.load("stargan-celeba-128", weights=path)
    assert deepfake.name == "stargan-celeba-128"
    assert deepfake.provenance["file"] == "200000-G.ckpt"
    faces = example_faces(2, size=32)
    targets = torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 1, 0, 1]])
    expected = published.train()(faces, targets)
    torch.testing.assert_close(deepfake.edit(faces, targets), expected, rtol=1e-4, atol=1e-5)
    assert expected.std() > 0.1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"main.3.weight": torch.zeros(128, 64, 3, 3)}, "main.3.weight"),
        ({"main.9.main.1.bias": None}, "main.9.main.1.bias"),
        ({"main.30.weight": torch.zeros(1)}, "main.30.weight"),
        ({"main.0.weight": None}, "main.0.weight"),
        ({"main.0.weight": torch.zeros(64, 11, 7, 7)}, "main.0.weight"),
        ({"main.0.weight": torch.zeros(64)}, "main.0.weight"),
    ],
)
def test_a_wrong_file_is_refused_by_name(
    published: Published, tmp_path: Path, change: dict[str, Tensor | None], named: str
) -> None:
    state = OrderedDict(published.state_dict())
    for name, value in change.items():
        if value is None:
            del state[name]
        else:
            state[name] = value
    path = tmp_path / "wrong.ckpt"
    torch.save(state, path)
    with pytest.raises(WeightsError, match=rf"wrong\.ckpt: not a StarGAN generator: .*{named}"):
        deepfakes.load("stargan-celeba-128", weights=path)


@pytest.mark.parametrize("residual", [False, True])
def test_the_kind_of_network_is_read_off_the_file(tmp_path: Path, residual: bool) -> None:
    path = tmp_path / "small.pt"
    network = Generator(conv_dim=6, repeat_num=2, residual=residual)
    torch.save(network.state_dict(), path)
    loaded = load_generator(path)
    torch.testing.assert_close(dict(loaded.state_dict()), dict(network.state_dict()))
    faces, targets = example_faces(2, size=32), torch.ones(2, 5)
    torch.testing.assert_close(loaded(faces, targets), network(faces, targets))


def test_instance_norm_is_the_same_when_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plain sums that a compiler gets equal the library's call."""
    layer = InstanceNorm(4)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x = torch.randn(2, 4, 9, 9) * 3 + 1
    expected = layer(x)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    torch.testing.assert_close(layer(x), expected, rtol=1e-4, atol=1e-5)


def correlation(first: Tensor, second: Tensor) -> Tensor:
    pairs = zip(first.flatten(1), second.flatten(1), strict=True)
    return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in pairs])


def test_a_near_identity_start_copies_the_face() -> None:
    torch.manual_seed(0)
    network = Generator(conv_dim=24, repeat_num=2)
    faces = example_faces(2, size=64)
    targets = torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 1, 0, 1]])
    with torch.no_grad():
        assert correlation(network(faces, targets), faces).max() < 0.5
        network.start_near_identity_()
        assert correlation(network(faces, targets), faces).min() > 0.9


def test_a_residual_network_adds_to_the_face() -> None:
    torch.manual_seed(0)
    network = Generator(conv_dim=6, repeat_num=1, residual=True)
    faces = example_faces(2, size=32)
    targets = torch.tensor([[1.0, 0, 0, 1, 0], [0, 0, 1, 0, 1]])
    planes = targets[:, :, None, None].expand(-1, -1, 32, 32)
    change = network.main(torch.cat([faces, planes], dim=1))
    assert change.std() > 0.01
    torch.testing.assert_close(network(faces, targets), (faces + change).clamp(-1, 1))


def test_a_residual_network_takes_over_all_but_the_last_layer() -> None:
    whole, residual = Generator(6, repeat_num=1), Generator(6, repeat_num=1, residual=True)
    residual.start_from_(whole)
    faces, targets = example_faces(2, size=32), torch.ones(2, 5)
    assert torch.equal(residual(faces, targets), faces)
    first, last = next(residual.parameters()), list(residual.parameters())[-1]
    assert torch.equal(first, next(whole.parameters()))
    nn.init.normal_(last)
    another = Generator(6, repeat_num=1, residual=True)
    another.start_from_(residual)
    torch.testing.assert_close(another(faces, targets), residual(faces, targets))
    for wrong in (Generator(8, repeat_num=1), Generator(6, repeat_num=2)):
        with pytest.raises(ConfigError, match="conv_dim, repeat_num or kind"):
            residual.start_from_(wrong)
    with pytest.raises(ConfigError, match="conv_dim, repeat_num or kind"):
        whole.start_from_(residual)


def test_a_narrow_network_has_no_near_identity_start() -> None:
    with pytest.raises(ConfigError, match="at least 24"):
        Generator(conv_dim=23).start_near_identity_()


@pytest.mark.parametrize(("size", "depth"), [(128, 6), (64, 5), (16, 3)])
def test_discriminator_gives_patches_and_logits(size: int, depth: int) -> None:
    discriminator = Discriminator(size, conv_dim=2, repeat_num=depth)
    realness, logits = discriminator(torch.zeros(3, 3, size, size))
    assert realness.shape == (3, 1, 2, 2)
    assert logits.shape == (3, 5)


def test_discriminator_has_the_publishers_keys() -> None:
    with torch.device("meta"):  # 45 million weights that nobody reads
        state = Discriminator().state_dict()
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    expected: dict[str, tuple[int, ...]] = {}
    widths = [3, 64, 128, 256, 512, 1024, 2048]
    for level in range(6):
        expected[f"main.{2 * level}.weight"] = (widths[level + 1], widths[level], 4, 4)
        expected[f"main.{2 * level}.bias"] = (widths[level + 1],)
    expected["conv1.weight"] = (1, 2048, 3, 3)
    expected["conv2.weight"] = (5, 2048, 2, 2)
    assert shapes == expected
