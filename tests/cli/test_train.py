from __future__ import annotations

import signal
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner, Result

from unmorph import deepfakes
from unmorph.attributes import ATTRIBUTES
from unmorph.cli import app
from unmorph.deepfakes.stargan import Generator, load_generator
from unmorph.export import example_faces, export_onnx
from unmorph.runtime import OnnxClassifier, OnnxDefense
from unmorph.training.classifier import ClassifierTrainer

CONFIGS = {
    "deepfake": "conv_dim = 4\nrepeat_num = 1\ndiscriminator_conv_dim = 4\n"
    "[[stages]]\nimage_size = 16\nsteps = 2\nbatch_size = 2\ncritic_steps = 1\n",
    "defense": "width = 2\nsteps = 2\nbatch_size = 2\nlambda_feat = 0\nepsilon = 0.07\n",
    "classifier": "width = 2\nsteps = 2\nbatch_size = 2\n",
}

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """CelebA's layout with a zip of faces that are cropped already: four to train on, two val."""
    folder = tmp_path_factory.mktemp("celeba")
    generator = np.random.default_rng(0)
    attributes, partition = ["6", " ".join(ATTRIBUTES)], []
    with zipfile.ZipFile(folder / "train-128.zip", "w") as archive:
        for index in range(6):
            pixels = generator.integers(0, 256, (128, 128, 3), dtype=np.uint8)
            name = f"{index:06d}"
            with archive.open(f"train-128/{name}.png", "w") as file:
                Image.fromarray(pixels).save(file, "png")
            signs = " ".join(str(sign) for sign in generator.choice([-1, 1], 5))
            attributes.append(f"{name}.jpg {signs}")
            partition.append(f"{name}.jpg {int(index > 3)}")
    (folder / "list_attr_celeba.txt").write_text("\n".join(attributes))
    (folder / "list_eval_partition.txt").write_text("\n".join(partition))
    return folder


@pytest.fixture
def train(data: Path, tmp_path: Path) -> Run:
    """Return a function that runs ``unmorph train KIND`` on a tiny configuration."""

    def run(kind: str, *more: str) -> Result:
        config = tmp_path / f"{kind}.toml"
        if not config.exists():
            config.write_text(CONFIGS[kind])
        arguments = ["train", kind, str(config), "--data", str(data), "-o", str(tmp_path / "run")]
        return CliRunner().invoke(app, [*arguments, "--cache", str(tmp_path / "cache"), *more])

    return run


def export(kind: str, checkpoint: Path, output: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["export", kind, str(checkpoint), "-o", str(output), *more])


def test_an_export_may_be_amplified(train: Run, tmp_path: Path) -> None:
    (tmp_path / "deepfake.toml").write_text("residual = true\n" + CONFIGS["deepfake"])
    assert train("deepfake").exit_code == 0
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    files = tmp_path / "plain.onnx", tmp_path / "amplified.onnx"
    for path, more in zip(files, ((), ("--amplify", "2")), strict=True):
        assert export("deepfake", checkpoint, path, *more).exit_code == 0
    plain, amplified = (load_generator(path).state_dict() for path in files)
    last = [name for name in plain if name.startswith("main.")][-1]
    for name, value in plain.items():
        expected = 2 * value if name == last else value
        torch.testing.assert_close(amplified[name], expected, rtol=1e-3, atol=1e-6)


def test_from_training_to_protected_faces(train: Run, tmp_path: Path) -> None:
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    network = tmp_path / "stargan.onnx"
    result = train("deepfake")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "run" / "edits.png").is_file()
    result = export("deepfake", checkpoint, network)
    assert result.exit_code == 0, result.output
    assert f"wrote {network}: 0.0 MB, within " in result.output
    average = torch.load(checkpoint, weights_only=True)["average"]
    deepfake = deepfakes.load("stargan", weights=network)
    weight = deepfake.state_dict()["generator.main.0.weight"]
    torch.testing.assert_close(weight, average["main.0.weight"].half().float(), rtol=0, atol=0)

    wrong = export("deepfake", checkpoint, tmp_path)
    assert (wrong.exit_code, "directory" in wrong.output) == (2, True)
    for name in ("network", "network.ONNX"):
        wrong = export("deepfake", checkpoint, tmp_path / name)
        assert wrong.exit_code == 2
        said = " ".join(wrong.output.replace("│", " ").split())
        assert "name one that ends in .onnx" in said
        assert not (tmp_path / name).exists()
    (tmp_path / "taken").touch()
    wrong = export("deepfake", checkpoint, tmp_path / "taken" / "network.onnx")
    assert wrong.exit_code == 1
    assert "network.onnx: cannot be written: " in "".join(wrong.output.split("\n"))

    result = export("defense", checkpoint, tmp_path / "wrong.onnx")
    assert result.exit_code == 1
    assert "not a checkpoint for a DefenseConfig" in result.output
    assert not (tmp_path / "wrong.onnx").exists()

    again = train("defense", "--weights", str(network))
    assert again.exit_code == 2
    assert "a run is here already; add --resume" in again.output
    checkpoint.rename(tmp_path / "deepfake.pt")
    wrong = train("defense", "--weights", str(network), "--without", "L_nothing")
    assert wrong.exit_code == 2
    message = " ".join(wrong.output.split())
    assert "without = 'L_nothing': choose one of L_pix, L_feat, L_adv" in message
    twice = train("defense", "--weights", str(network), "--weights", f"stargan={network}")
    assert twice.exit_code == 2
    assert "stargan has been given weights already" in " ".join(twice.output.split())
    result = train("defense", "--weights", str(network), "--without", "L_pix")
    assert result.exit_code == 0, result.output
    result = export("defense", checkpoint, tmp_path / "defense.onnx")
    assert result.exit_code == 0, result.output
    defense = OnnxDefense(tmp_path / "defense.onnx", threads=1)
    assert (defense.epsilon, defense.without) == (0.07, "L_pix")
    assert defense.budget == "2 steps of 2"
    faces = (example_faces(1) / 2).numpy()  # so that no perturbation is cut off
    assert 0 < np.abs(defense.protect(faces) - faces).max() <= 0.07 + 1e-6

    more = ("--mean-with", str(tmp_path / "defense.onnx"), "--amplify", "0.5")
    result = export("defense", checkpoint, tmp_path / "mean.onnx", *more)
    assert result.exit_code == 0, result.output
    mean_defense = OnnxDefense(tmp_path / "mean.onnx", threads=1)
    assert mean_defense.budget is None
    mean = mean_defense.protect(faces) - faces
    np.testing.assert_allclose(mean, (defense.protect(faces) - faces) / 2, rtol=0.05, atol=1e-5)
    # From the export, that of the mean is the same; without its casts it has no mean.
    result = export("defense", tmp_path / "defense.onnx", tmp_path / "again.onnx", *more)
    assert result.exit_code == 0, result.output
    found = OnnxDefense(tmp_path / "again.onnx", threads=1)
    assert (found.without, found.budget) == ("L_pix", None)
    np.testing.assert_allclose(found.protect(faces) - faces, mean, atol=1e-6)
    fine = ("--detail", "4")
    result = export("defense", tmp_path / "defense.onnx", tmp_path / "fine.onnx", *fine)
    assert result.exit_code == 0, result.output
    found = OnnxDefense(tmp_path / "fine.onnx", threads=1)
    assert found.budget == "2 steps of 2"
    casts = (found.protect(faces) - faces).mean((2, 3))
    assert np.abs(casts).max() < 0.1 * np.abs((defense.protect(faces) - faces).mean((2, 3))).max()
    wrong = export("defense", tmp_path / "fine.onnx", tmp_path / "wrong.onnx")
    assert wrong.exit_code == 1
    assert "filters its perturbation; export it from its checkpoint" in " ".join(
        wrong.output.split()
    )
    before = (tmp_path / "defense.onnx").read_bytes()
    mean = ("--mean-with", str(tmp_path / "defense.onnx"))
    for first, options in ((tmp_path / "defense.onnx", ()), (checkpoint, mean)):
        wrong = export("defense", first, tmp_path / "defense.onnx", *options)
        assert wrong.exit_code == 2
        assert "name another file" in " ".join(wrong.output.split())
    assert (tmp_path / "defense.onnx").read_bytes() == before
    wrong = export("defense", network, tmp_path / "wrong.onnx")
    assert wrong.exit_code == 1
    wrong = export("defense", checkpoint, tmp_path / "wrong.onnx", "--mean-with", str(network))
    assert wrong.exit_code == 1
    assert "stargan.onnx: not an exported defense of width" in " ".join(wrong.output.split())
    assert not (tmp_path / "wrong.onnx").exists()


def test_weights_of_several_deepfakes_are_named(train: Run, tmp_path: Path) -> None:
    config = "deepfakes = { stargan = 1, fast-aginggan = 1 }\nlambda_feat = 0\n"
    (tmp_path / "defense.toml").write_text(config)
    for given in ("mine.onnx", "attgan=mine.onnx"):
        result = train("defense", "--weights", given)
        assert result.exit_code == 2
        message = " ".join(result.output.split())
        assert (
            f"--weights {given}: say of which deepfake: stargan=FILE or fast-aginggan=FILE"
            in message
        )
    result = train("defense", "--weights", "stargan=")
    assert "--weights stargan=: name a file" in " ".join(result.output.split())
    result = train("defense", "--weights", f"fast-aginggan={tmp_path / 'absent.safetensors'}")
    assert result.exit_code == 1
    assert "absent.safetensors: no such weights file" in "".join(result.output.split("\n"))


def test_several_networks_of_one_kind_have_labels(train: Run, tmp_path: Path) -> None:
    config = (
        'deepfakes = { stargan = 1, "stargan:other" = 2 }\nwidth = 2\nsteps = 1\n'
        "batch_size = 2\nlambda_feat = 0\n"
    )
    (tmp_path / "defense.toml").write_text(config)
    result = train("defense")
    assert result.exit_code == 2
    message = " ".join(result.output.split())
    assert "stargan:other needs its weights, --weights stargan:other=FILE" in message
    other = tmp_path / "other.onnx"
    network = Generator(4, repeat_num=1)
    inputs = {"faces": example_faces(), "targets": torch.ones(2, 5)}
    export_onnx(network, other, inputs=inputs, outputs=["edited"], metadata={})
    result = train("defense", "--weights", f"stargan:other={other}")
    assert result.exit_code == 0, result.output
    networks = torch.load(tmp_path / "run" / "checkpoint.pt", weights_only=True)["networks"]
    assert list(networks) == ["stargan", "stargan:other"]
    assert networks["stargan"] != networks["stargan:other"]


def test_a_classifier_is_stopped_resumed_and_exported(
    train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = ClassifierTrainer.update

    def interrupted(self: ClassifierTrainer) -> dict[str, torch.Tensor]:
        signal.raise_signal(signal.SIGINT)
        return update(self)

    with monkeypatch.context() as patch:
        patch.setattr(ClassifierTrainer, "update", interrupted)
        result = train("classifier")
    assert result.exit_code == 130, result.output
    checkpoint = tmp_path / "run" / "checkpoint.pt"
    assert f"go on with --resume ({checkpoint} is written)" in " ".join(result.output.split())
    assert torch.load(checkpoint, weights_only=True)["step"] == 1
    result = train("classifier", "--resume")
    assert result.exit_code == 0, result.output
    assert torch.load(checkpoint, weights_only=True)["step"] == 2
    result = export("classifier", checkpoint, tmp_path / "attributes.onnx")
    assert result.exit_code == 0, result.output
    logits = OnnxClassifier(tmp_path / "attributes.onnx").logits(example_faces(1).numpy())
    assert logits.shape == (1, 5)


def test_what_would_not_count_is_refused(train: Run, tmp_path: Path) -> None:
    absent = str(tmp_path / "absent.onnx")

    def refused(kind: str, *more: str) -> str:
        result = train(kind, *more)
        assert result.exit_code == 2, result.output
        assert not (tmp_path / "cache").exists()  # at once, not after the work
        return " ".join(result.output.split())

    for kind in ("deepfake", "defense"):
        (tmp_path / f"{kind}.toml").write_text("amplify_start = 1.25\n" + CONFIGS[kind])
        said = refused(kind)
        assert "amplify_start = 1.25: amplifies what --start-from names" in said
    (tmp_path / "defense.toml").write_text("fixed_statistics = true\n" + CONFIGS["defense"])
    assert "fixed_statistics: keeps those of what --start-from names; add it" in refused("defense")
    (tmp_path / "deepfake.toml").write_text(CONFIGS["deepfake"])
    for option, use in (("--teacher", "lessons"), ("--guide", "guidance")):
        said = refused("deepfake", option, absent)
        assert f"{option} {absent}: no stage of" in said
        assert f"has {use}; leave it out" in said


def test_an_amplified_start_is_resumed_without_it(train: Run, tmp_path: Path) -> None:
    text = "residual = true\namplify_start = 1.25\n" + CONFIGS["deepfake"]
    (tmp_path / "deepfake.toml").write_text(text)
    start = tmp_path / "start.pt"
    torch.save(Generator(4, repeat_num=1, residual=True).state_dict(), start)
    result = train("deepfake", "--start-from", str(start))
    assert result.exit_code == 0, result.output
    for again in ((), ("--start-from", str(start))):
        result = train("deepfake", "--resume", *again)
        assert result.exit_code == 0, result.output
    torch.save(Generator(4, repeat_num=1, residual=True).state_dict(), start)
    result = train("deepfake", "--resume", "--start-from", str(start))
    assert result.exit_code == 2
    assert f"did not begin with {start}; leave out" in " ".join(result.output.split())


def test_what_went_on_from_an_export_has_no_budget_of_its_own(train: Run, tmp_path: Path) -> None:
    start, checkpoint = tmp_path / "start.onnx", tmp_path / "run" / "checkpoint.pt"
    assert train("defense").exit_code == 0
    assert export("defense", checkpoint, start).exit_code == 0
    checkpoint.unlink()
    assert train("defense", "--start-from", str(start)).exit_code == 0
    assert export("defense", checkpoint, tmp_path / "more.onnx").exit_code == 0
    budgets = [OnnxDefense(tmp_path / name).budget for name in ("start.onnx", "more.onnx")]
    assert budgets == ["2 steps of 2", None]


def test_errors_are_one_line(train: Run, tmp_path: Path) -> None:
    for kind in CONFIGS:
        result = train(kind, "--resume")
        assert result.exit_code == 2
        said = " ".join(result.output.split())
        assert "checkpoint.pt: no checkpoint to go on from; leave out --resume" in said
        (tmp_path / f"{kind}.toml").unlink()
    (tmp_path / "defense.toml").write_text("deepfakes = { attgan = 1 }\nlambda_feat = 0")
    result = train("defense")
    assert result.exit_code == 2
    assert "unknown deepfake 'attgan'; choose one of" in result.output
    (tmp_path / "deepfake.toml").write_text("[[stages]]\nsize = 3")
    result = train("deepfake")
    assert result.exit_code == 2
    assert "deepfake.toml: unknown key size" in result.output
    (tmp_path / "classifier.toml").write_text(CONFIGS["classifier"])
    result = train("classifier", "--device", "warp")
    assert result.exit_code == 2
    assert "device warp: cannot be used here" in result.output
    assert not (tmp_path / "run").exists()
