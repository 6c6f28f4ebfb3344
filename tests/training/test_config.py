from __future__ import annotations

import re
from pathlib import Path

import pytest

from unmorph.errors import ConfigError
from unmorph.training.config import (
    ClassifierConfig,
    DeepfakeConfig,
    DeepfakeStage,
    DefenseConfig,
    load_config,
)

CONFIGS = Path(__file__).parents[2] / "configs"
KINDS = {"classifier": ClassifierConfig, "deepfake": DeepfakeConfig, "defense": DefenseConfig}


@pytest.mark.parametrize(
    "path",
    sorted(path for kind in KINDS for path in (CONFIGS / kind).glob("*.toml")),
    ids=lambda path: f"{path.parent.name}/{path.name}",
)
def test_every_committed_configuration_loads(path: Path) -> None:
    kind = KINDS[path.parent.name]
    assert isinstance(load_config(path, kind), kind)


def test_the_papers_numbers() -> None:
    defense = load_config(CONFIGS / "defense" / "paper.toml", DefenseConfig)
    assert (defense.batch_size, defense.learning_rate, defense.steps) == (16, 1e-4, 200_000)
    assert defense.epsilon == 0.05
    (stage,) = load_config(CONFIGS / "deepfake" / "stargan-paper.toml", DeepfakeConfig).stages
    assert (stage.adversarial, stage.critic_steps, stage.betas) == ("wgan-gp", 5, (0.5, 0.999))
    assert (stage.classification, stage.cycle, stage.penalty) == (1, 10, 10)


def test_tables_become_stages(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text(
        "conv_dim = 8\n[[stages]]\nimage_size = 64\nsteps = 5\nbetas = [0, 0.9]\n"
        "[[stages]]\nimage_size = 128\nsteps = 7\ncycle = 3\n"
    )
    first = DeepfakeStage(64, 5, betas=(0.0, 0.9))
    second = DeepfakeStage(128, 7, cycle=3.0)
    config = load_config(path, DeepfakeConfig)
    assert config == DeepfakeConfig((first, second), conv_dim=8)
    assert isinstance(config.stages[1].cycle, float)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("widht = 3", "unknown key widht; known: .*width"),
        ("steps = 2.5", "steps: expected int, got 2.5"),
        ("steps = true", "steps: expected int, got True"),
        ("steps = '5'", "steps: expected int, got '5'"),
        ("epsilon = '0.05'", "epsilon: expected float"),
        ("relative = 1", "relative: expected bool, got 1"),
        ("psnr = 'high'", "psnr: expected float"),
        ("feature_layers = 'relu1_1'", "feature_layers: expected a list"),
        ("feature_layers = [1]", "feature_layers: expected str, got 1"),
        ("betas = [0.5]", r"betas: expected 2 values, got \[0.5\]"),
        ("width = 0", "width = 0: must be positive"),
        ("max_width = 0", "max_width = 0: must be positive"),
        ("lambda_ssim = -1", "lambda_ssim = -1.0: must not be negative"),
        ("smooth = -1", "smooth = -1.0: must not be negative"),
        ("detail = -1", "detail = -1.0: must not be negative"),
        ("learning_rate = -1", "learning_rate = -1.0: must not be negative"),
        ("betas = [2, 3]", r"betas = \[2.0, 3.0\]: each must be from 0 and below 1"),
        ("betas = [0.5, 1]", r"betas = \[0.5, 1.0\]: each must be from 0 and below 1"),
        ("ema = -1", "ema = -1.0: must be from 0 to 1"),
        ("psnr = -1e4", "psnr = -10000.0: must be from 0 to 100"),
        ("psnr = 1e4", "psnr = 10000.0: must be from 0 to 100"),
        ("seed = -1", "seed = -1: must be from 0 to 9223372036854775807"),
        (f"seed = {2**63}", f"seed = {2**63}: must be from 0 to "),
        ("epsilon = nan", "epsilon: expected a finite number, got nan"),
        ("lambda_adv = inf", "lambda_adv: expected a finite number, got inf"),
        ("channels.jitter = nan", "channels.jitter: expected a finite number, got nan"),
        (f"epsilon = {10**400}", "epsilon: expected a finite number, got 1000"),
        ("decay = 'never'", "decay = 'never': choose one of constant, cosine, linear"),
        ("precision = 'fp16'", "precision = 'fp16': choose one of fp32, bf16"),
        ("width 3", "not valid TOML"),
    ],
)
def test_a_wrong_defense_configuration(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"{re.escape(str(path))}: .*{message}"):
        load_config(path, DefenseConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "missing key stages"),
        ("stages = []", "at least one"),
        ("stages = 3", "stages: expected a list, got 3"),
        ("stages = [3]", "stages: expected a table, got 3"),
        ("[[stages]]\nsteps = 3", "missing key image_size"),
        ("[[stages]]\nimage_size = 64\nsteps = 3\nstep = 1", "unknown key step;"),
        ("[[stages]]\nimage_size = 64\nsteps = 3\npatches = 3", "patches = 3: must be a power"),
        ("[[stages]]\nimage_size = 50\nsteps = 3", "image_size = 50: must be a multiple of 16 and"),
        (
            "[[stages]]\nimage_size = 50\nsteps = 3\nadversarial = 'none'\npatches = 32",
            "image_size = 50: must be a multiple of 32 and at least 8",
        ),
        ("[[stages]]\nimage_size = 36\nsteps = 3\npatches = 4", "image_size = 36: .* of 8 and"),
        ("[[stages]]\nimage_size = 4\nsteps = 3", "image_size = 4: must be a multiple of 4 and"),
        ("[[stages]]\nimage_size = 8\nsteps = 3\ncoarse = 1", "coarse = 1.0: needs faces of at"),
        ("[[stages]]\nimage_size = 64\nsteps = 3\nlessons = -1", "lessons = -1: must not be neg"),
        ("[[stages]]\nimage_size = 64\nsteps = 3\nema = -1", "ema = -1.0: must be from 0 to 1"),
        ("[[stages]]\nimage_size = 64\nsteps = 3\nbetas = [-1, 0]", r"betas = \[-1.0, 0.0\]: each"),
        (
            "[[stages]]\nimage_size = 64\nsteps = 3\ngenerator_lr = -1",
            "generator_lr = -1.0: must not be negative",
        ),
        (
            "[[stages]]\nimage_size = 64\nsteps = 3\ncycle = nan",
            "cycle: expected a finite number, got nan",
        ),
        (f"seed = {2**64}\n[[stages]]\nimage_size = 64\nsteps = 3", "seed = .*: must be from 0"),
        ("[[stages]]\nimage_size = 64\nsteps = 3\nadversarial = 'lsgan'", "adversarial = 'lsgan'"),
        (
            "[[stages]]\nimage_size = 64\nsteps = 3\nadversarial = 'none'\n"
            "[stages.cycle_channels]\njitter = 1",
            "cycle_channels: need an adversarial stage",
        ),
        (
            "[[stages]]\nimage_size = 64\nsteps = 3\n[stages.cycle_channels]\njitter = 0",
            "cycle_channels: every weight must be positive",
        ),
        ("start = 'zero'\n[[stages]]\nimage_size = 64\nsteps = 3", "start = 'zero'"),
    ],
)
def test_a_wrong_deepfake_configuration(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=rf"wrong\.toml: .*{message}"):
        load_config(path, DeepfakeConfig)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("learning_rate = -1", "learning_rate = -1.0: must not be negative"),
        ("seed = -1", "seed = -1: must be from 0 to "),
        ("noise = nan", "noise: expected a finite number, got nan"),
    ],
)
def test_a_wrong_classifier_configuration(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(f"steps = 3\n{text}\n")
    with pytest.raises(ConfigError, match=rf"wrong\.toml: .*{message}"):
        load_config(path, ClassifierConfig)


@pytest.mark.parametrize(("size", "patches", "depth"), [(128, 2, 6), (96, 2, 5), (20, 4, 2)])
def test_how_deep_a_discriminator_is(size: int, patches: int, depth: int) -> None:
    assert DeepfakeStage(size, 1, patches=patches).depth == depth


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.toml: cannot read it"):
        load_config(tmp_path / "absent.toml", ClassifierConfig)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"binary\.toml: not valid TOML"):
        load_config(tmp_path / "binary.toml", ClassifierConfig)
