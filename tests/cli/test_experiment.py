"""The commands of the paper's experiment, from photos to a report, with tiny networks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

import unmorph.evaluation.run
from unmorph import __version__, runtime
from unmorph.attributes import ATTRIBUTES
from unmorph.cli import app
from unmorph.datasets.subsets import SUBSETS
from unmorph.deepfakes.stargan import Generator
from unmorph.evaluation.run import Subject
from unmorph.samples import PORTRAIT
from unmorph.weights.store import sha256


@pytest.fixture(scope="module")
def common(tmp_path_factory: pytest.TempPathFactory, classifier_file: Path) -> list[str]:
    """The options that name four photos and a small StarGAN."""
    folder = tmp_path_factory.mktemp("experiment")
    torch.manual_seed(0)
    weights = folder / "tiny-G.ckpt"
    torch.save(Generator(conv_dim=2, repeat_num=1).state_dict(), weights)
    photos = folder / "photos"
    photos.mkdir()
    generator = np.random.default_rng(0)
    for index in range(4):
        pixels = generator.integers(0, 256, (128, 128, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(photos / f"{index}.png")
    options = ["--data", str(photos), "--dataset", "folder", "--labeller", str(classifier_file)]
    return [*options, "--deepfake-weights", str(weights)]


def run(*arguments: object) -> Any:
    """Return the result of one command."""
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def words(result: Any) -> str:
    """Return what a command printed, without the frame and the line breaks."""
    return " ".join(result.output.replace("│", " ").split())


def done(*arguments: object) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    return str(result.output)


def test_kept_faces_serve_for_another_channel(common: list[str], tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    command = ["evaluate", *common, "--metrics", "l2", "--defense", "pgd", "--option", "steps=2"]
    command += ["--keep-faces", str(kept), "--limit", "2"]
    done(*command, "-o", tmp_path / "plain.json")
    before = {path: path.stat().st_mtime_ns for path in kept.iterdir()}
    done(*command, "--channel", "jpeg-75", "-o", tmp_path / "jpeg.json")
    assert {path: path.stat().st_mtime_ns for path in kept.iterdir()} == before
    assert len(before) == 2
    plain, through = (
        json.loads((tmp_path / name).read_text())["figures"]["input"]["l2"]["overall"]["mean"]
        for name in ("plain.json", "jpeg.json")
    )
    assert plain == through


def test_evaluate_an_attack_on_a_subset(
    common: list[str], tmp_path: Path, classifier_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(SUBSETS, "paper-200", 2)
    monkeypatch.setattr(runtime, "JUDGE", classifier_file)
    command = ["evaluate", *common, "--metrics", "l2", "--defense", "pgd", "--batch-size", 1]
    path = tmp_path / "x.json"
    command += ["--subset", "paper-200", "--option", "steps=2", "--option", "mode=invalid"]
    done(*command, "-o", path)
    content = json.loads(path.read_text())
    assert (content["kind"], content["dataset"]["subset"]) == ("evaluation", "paper-200")
    assert content["dataset"]["count"] == 2
    assert content["judge"]["file"] == classifier_file.name
    assert content["defense"]["changed"] == {"steps": "2", "mode": "invalid"}
    assert content["defense"]["options"]["steps"] == 2
    again = tmp_path / "again.json"
    done(*command, "-o", again)
    assert json.loads(again.read_text())["figures"] == content["figures"]


def test_fewer_faces_than_the_limit(common: list[str], tmp_path: Path) -> None:
    command = ["evaluate", *common, "--metrics", "l2", "--defense", "none", "--limit", 9]
    path = tmp_path / "x.json"
    stopped = run(*command, "--require-all", "-o", path)
    assert stopped.exit_code == 1
    assert "4 faces where --limit 9 asks for 9; add what is missing" in words(stopped)
    assert not path.exists()
    assert "4 faces where --limit 9 asks for 9" in " ".join(done(*command, "-o", path).split())
    composed = run(*command[:-1], 1, "--protocol", "composed", "--require-all", "-o", path)
    assert "4 faces where --limit 1 asks for 5; add what is missing" in words(composed)


def test_tune_time_and_report(
    common: list[str], tmp_path: Path, defense_file: Path, classifier_file: Path
) -> None:
    tuned = tmp_path / "tuned.json"
    grid = ["--grid", "steps=1,2", "--grid", "step_size=0.01"]
    shown = done("tune", "i-fgsm", *common, *grid, "--limit", 2, "-o", tuned)
    content = json.loads(tuned.read_text())
    assert content["kind"] == "tuning"
    assert [trial["options"]["steps"] for trial in content["trials"]] == ["1", "2"]
    assert f"steps={content['best']['options']['steps']} step_size=0.01: s " in shown

    timed = tmp_path / "timed.json"
    methods = ["--defense", defense_file, "--defense", "pgd:steps=1"]
    shown = done("bench-defenses", *common, *methods, "--faces", 2, "-o", timed)
    assert "pgd (steps=1): " in shown

    model = onnx.load(defense_file)
    onnx.helper.set_model_props(model, {"epsilon": "0.05", "without": "L_pix"})
    ablated = tmp_path / "ablated.onnx"
    onnx.save(model, ablated)
    record = tmp_path / "record.json"
    options = ["--metrics", "l2", "--defense", ablated]
    done("evaluate", *common, *options, "--judge", classifier_file, "-o", record)
    outputs = [tmp_path / f"report.{ending}" for ending in ("md", "html", "tex")]
    done("report", record, timed, tuned, *(part for path in outputs for part in ("-o", path)))
    for path in outputs:
        text = path.read_text()
        assert "Table 4" in text
        assert "Efficiency" in text
        assert "How I-FGSM was tuned" in text


def test_figures(common: list[str], tmp_path: Path, defense_file: Path) -> None:
    edits = tmp_path / "edits.png"
    done("figure", "edits", *common, "--defense", defense_file, "--face", 1, "-o", edits)
    with Image.open(edits) as picture:
        about = picture.info
    assert about["Description"].startswith("Figure 3: edits of ")
    assert about["Description"].endswith(" the defense defense; folder, face 1")
    classifier, weights = Path(common[5]), Path(common[7])
    assert about["Networks"] == ", ".join(
        f"{path.name} {sha256(path)}" for path in (weights, defense_file, classifier)
    )
    assert about["Software"].startswith(f"unmorph {__version__}")
    both = ["--defense", defense_file, "--defense", "pgd:steps=1", "--face", 0, "--face", 3]
    differences = tmp_path / "differences.png"
    done("figure", "differences", *common, *both, "-o", differences)
    with Image.open(differences) as picture:
        assert picture.height > 4 * 128
        assert picture.info["Description"].startswith("Figure 4: difference of ")
        assert "Blond_Hair" in picture.info["Description"]

    other = tmp_path / "b" / defense_file.name
    other.parent.mkdir()
    other.write_bytes(defense_file.read_bytes())
    clash = ["--defense", defense_file, "--defense", other]
    wrong = run("figure", "differences", *common, *clash, "-o", tmp_path / "clash.png")
    assert wrong.exit_code == 2
    said = f"--defense {defense_file} and --defense {other}: both would be called {other.stem};"
    assert said in words(wrong)
    assert not (tmp_path / "clash.png").exists()

    failures = tmp_path / "failures.png"
    ways = ["--channel", "none", "--channel", "blur-1", "--limit", 3, "--count", 1]
    done("figure", "failures", *common, "--defense", defense_file, *ways, "-o", failures)
    with Image.open(failures) as picture:
        assert picture.info["Description"].startswith("What the defense defense stops least of")
        assert picture.info["Description"].endswith("; folder, faces 0 to 2")

    page = tmp_path / "x.html"
    timed = tmp_path / "timed.json"
    done("bench-defenses", *common, "--defense", "noise", "--faces", 1, "-o", timed)
    done("report", timed, "-o", page, "--picture", edits)
    assert "data:image/png;base64," in page.read_text()
    assert f"Networks: {weights.name} {sha256(weights)[:12]}, " in page.read_text()

    wrong = run("figure", "edits", *common, "--defense", "none", "--face", 9, "-o", edits)
    assert wrong.exit_code == 2
    assert f"no face 9 in {common[1]}; choose from 0 to 3" in wrong.output


@pytest.mark.parametrize("kind", ["edits", "differences", "failures"])
def test_a_figure_replaces_no_photo(kind: str, tmp_path: Path) -> None:
    photo = tmp_path / "me.png"
    photo.write_bytes(b"a photo")
    wrong = run("figure", kind, "--data", photo, "-o", photo)
    assert wrong.exit_code == 2
    assert "is read here: name another file" in words(wrong)
    assert photo.read_bytes() == b"a photo"
    wrong = run("figure", kind, "--data", photo, "-o", tmp_path / "me.jpg")
    assert wrong.exit_code == 2
    assert "ends in .png" in words(wrong)


def test_figure_of_one_photo(common: list[str], tmp_path: Path) -> None:
    options = [*common[4:], "--defense", "none"]
    path = tmp_path / "edits.png"
    done("figure", "edits", "--data", PORTRAIT, *options, "-o", path)
    with Image.open(path) as picture:
        assert picture.info["Description"].endswith(f"; {PORTRAIT.name}, face 0")
    wrong = run("figure", "edits", "--data", PORTRAIT, "--face", 7, *options, "-o", path)
    assert (wrong.exit_code, "no face 7" in wrong.output) == (2, True)
    empty = tmp_path / "empty.png"
    Image.new("RGB", (200, 200)).save(empty)
    wrong = run("figure", "edits", "--data", empty, *options, "-o", path)
    assert (wrong.exit_code, "no face found" in wrong.output) == (1, True)


@pytest.mark.parametrize("name", ["paper", "internet", "deepfakes"])
def test_every_command_of_the_committed_plans_exists(name: str) -> None:
    plan = Path(__file__).parents[2] / "configs" / "experiments" / f"{name}.toml"
    data = [part for which in ("celeba", "lfw", "ffhq") for part in ("--data", f"{which}=here")]
    lines = done("experiment", plan, *data, "--list").splitlines()
    assert len(lines) >= 6
    assert all(line.startswith("unmorph ") for line in lines)


def test_a_plans_list_of_photos_is_what_counts(common: list[str], tmp_path: Path) -> None:
    folder, weights, labeller = common[1], common[7], common[5]
    (tmp_path / "some.txt").write_text("0\n2\n3\n")
    plan = tmp_path / "plan.toml"
    shared = f"""dataset = "folder"
        deepfake_weights = "{weights}"
        labeller = "{labeller}"
        output = "{{results}}/{{run}}.json"
        """
    plan.write_text(
        f"""
        [sets]
        folder = "{{plan}}/some.txt"
        celeba-val = "val.txt"
        celeba-test = "test.txt"
        [[steps]]
        run = "evaluate"
        metrics = "l2"
        defense = "none"
        {shared}
        [[steps]]
        run = "tune"
        arguments = ["pgd"]
        grid = ["steps=1"]
        limit = 2
        {shared}
        [[steps]]
        run = "bench-defenses"
        faces = 1
        defense = ["noise"]
        {shared}
        [[steps]]
        run = "tune"
        arguments = ["pgd"]
        output = "val.json"
        [[steps]]
        run = "evaluate"
        split = "{{split}}"
        subset = "paper-200"
        output = "{{split}}-{{run}}.json"
        each.split = ["val", "test", "train"]
        """
    )
    results = tmp_path / "results"
    done("experiment", plan, "--data", f"folder={folder}", "--results", results)
    for name, count in (("evaluate", 3), ("tune", 2), ("bench-defenses", 1)):
        about = json.loads((results / f"{name}.json").read_text())["dataset"]
        assert (about["count"], about["subset"]) == (count, "some")
        assert set(about["files"]) == {"photos"}
    listed = done("experiment", plan, "--data", "celeba=here", "--list").splitlines()[:4]
    assert [line.split(" --output ")[0].removeprefix("unmorph ") for line in listed] == [
        "tune pgd --subset val.txt",
        "evaluate --subset val.txt --split val --subset paper-200",
        "evaluate --subset test.txt --split test --subset paper-200",
        "evaluate --split train --subset paper-200",
    ]


def test_a_plan_measures_once(common: list[str], tmp_path: Path) -> None:
    folder, weights, labeller = common[1], common[7], common[5]
    plan = tmp_path / "plan.toml"
    text = f"""
        [[steps]]
        run = "evaluate"
        dataset = "folder"
        output = "{{results}}/{{defense}}.json"
        metrics = "l2"
        limit = 2
        deepfake_weights = "{weights}"
        labeller = "{labeller}"
        each.defense = ["none", "noise"]

        [[steps]]
        run = "tune"
        arguments = ["pgd"]
        dataset = "folder"
        output = "{{results}}/tuned.json"
        grid = ["steps=1"]
        limit = 2
        deepfake_weights = "{weights}"
        labeller = "{labeller}"

        [[steps]]
        run = "bench-defenses"
        dataset = "folder"
        output = "{{results}}/times.json"
        faces = 1
        defense = ["noise"]
        deepfake_weights = "{weights}"
        labeller = "{labeller}"

        [[steps]]
        run = "evaluate"
        dataset = "lfw"
        output = "{{results}}/lfw.json"
        """
    plan.write_text(text)
    results = tmp_path / "results"
    command = ["experiment", plan, "--data", f"folder={folder}", "--results", results]

    listed = done(*command, "--list")
    assert listed.count("unmorph evaluate") == 2
    assert not results.exists()

    said = done(*command)
    assert "left out for want of --data lfw=PATH: 1 of 5" in said
    names = ("none.json", "noise.json", "tuned.json", "times.json")
    before = {name: (results / name).stat().st_mtime_ns for name in names}

    assert done(*command).count("is current") == 4
    assert {name: (results / name).stat().st_mtime_ns for name in names} == before

    other = tmp_path / "other.onnx"
    model = onnx.load(labeller)
    model.producer_name = "another"
    onnx.save(model, other)
    plan.write_text(text.replace(labeller, str(other)))
    assert "is current" not in done(*command)
    plan.write_text(text)
    assert "is current" not in done(*command)

    # Other options are another record; what they do not concern is left alone.
    plan.write_text(text.replace("limit = 2\n        deep", "limit = 1\n        deep", 1))
    assert done(*command).count("is current") == 2
    assert json.loads((results / "noise.json").read_text())["dataset"]["count"] == 1

    said = done(*command, "--again", "--only", "bench-defenses")
    assert "is current" not in said
    assert (results / "times.json").stat().st_mtime_ns > before["times.json"]


def test_a_plan_needs_no_faces_where_its_commands_take_none(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    plan.write_text('[[steps]]\nrun = "report"\narguments = ["a.json"]\noutput = "a.md"\n')
    assert done("experiment", plan, "--list") == "unmorph report a.json --output a.md\n"


@pytest.mark.parametrize(
    "command",
    [
        ["evaluate", "--defense", "none"],
        ["tune", "pgd"],
        ["bench-defenses"],
        ["figure", "edits"],
    ],
)
def test_a_folder_is_no_output(common: list[str], tmp_path: Path, command: list[str]) -> None:
    result = run(*command, *common, "-o", tmp_path)
    assert result.exit_code == 2
    assert "directory" in result.output
    if command[0] != "bench-defenses":
        suffix = "png" if command[0] == "figure" else "json"
        result = run(*command, *common, "-o", tmp_path / f"x.{suffix}", "--seed", -1)
        assert result.exit_code == 2
        assert "Invalid value for '--seed'" in result.output


def test_a_report_is_no_folder(tmp_path: Path) -> None:
    result = run("report", "a.json", "-o", tmp_path)
    assert (result.exit_code, "directory" in result.output) == (2, True)


def test_a_heat_map_replaces_no_record(tmp_path: Path) -> None:
    record = tmp_path / "x.png"
    record.write_text("{}")
    wrong = run("figure", "heatmap", record, "-o", record)
    assert wrong.exit_code == 2
    assert "is read here" in words(wrong)
    assert record.read_text() == "{}"


def test_a_figure_replaces_no_photo_of_its_set(tmp_path: Path) -> None:
    photo = tmp_path / "faces" / "me.png"
    photo.parent.mkdir()
    photo.write_bytes(b"a photo")
    wrong = run("figure", "edits", "--dataset", "folder", "--data", photo.parent, "-o", photo)
    assert wrong.exit_code == 2
    assert "is read here" in words(wrong)
    assert photo.read_bytes() == b"a photo"


def test_a_record_is_json(common: list[str], tmp_path: Path) -> None:
    photo = tmp_path / "me.jpg"
    photo.write_bytes(b"a photo")
    for command in (["evaluate"], ["tune", "pgd", "--grid", "steps=1"], ["bench-defenses"]):
        wrong = run(*command, *common, "-o", photo)
        assert wrong.exit_code == 2
        assert "name one that ends in .json" in words(wrong)
    assert photo.read_bytes() == b"a photo"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--crop", "jitter"], "--crop and --saved-as are of whole photos"),
        (["--saved-as", "png"], "--crop and --saved-as are of whole photos"),
        (["--crop", "foo"], "choose one of box"),
        (["--protocol", "photo", "--batch-size", "4"], "whole photos go one by one"),
        (["--defense", "shipped", "--epsilon", "0.1"], "--epsilon: shipped has its own"),
    ],
)
def test_options_that_would_not_count_are_refused(
    common: list[str], tmp_path: Path, options: list[str], said: str
) -> None:
    wrong = run("evaluate", *common, *options, "--limit", 1, "-o", tmp_path / "x.json")
    assert wrong.exit_code == 2
    assert said in words(wrong)


def test_labels_of_its_own_need_no_labeller(classifier_file: Path, tmp_path: Path) -> None:
    (tmp_path / "img_align_celeba").mkdir()
    Image.new("RGB", (178, 218)).save(tmp_path / "img_align_celeba" / "1.jpg")
    (tmp_path / "list_eval_partition.txt").write_text("1.jpg 2")
    (tmp_path / "list_attr_celeba.txt").write_text(f"1\n{' '.join(ATTRIBUTES)}\n1.jpg 1 1 1 1 1")
    options = ["--data", tmp_path, "--labeller", classifier_file, "-o", tmp_path / "x.json"]
    wrong = run("evaluate", *options)
    assert wrong.exit_code == 2
    assert "have labels of their own" in words(wrong)


def test_a_network_keeps_its_epsilon(common: list[str], tmp_path: Path) -> None:
    for command in (
        ["tune", "refine-5", "--grid", "steps=1", "--limit", 1, "-o", tmp_path / "x.json"],
        ["bench-defenses", "--defense", "shipped", "--faces", 1, "-o", tmp_path / "x.json"],
        ["figure", "edits", "--defense", "shipped", "-o", tmp_path / "x.png"],
    ):
        wrong = run(command[0], *command[1:], *common, "--epsilon", 0.1)
        assert wrong.exit_code == 2
        assert "has its own, which does not change" in words(wrong)


def test_a_record_that_has_no_place_is_told_at_once(common: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    wrong = run("evaluate", *common, "-o", tmp_path / "file" / "deep" / "x.json")
    assert wrong.exit_code == 2
    assert f"{tmp_path / 'file'} is no folder to write in" in words(wrong)


def test_what_is_current_leaves_another_runs_progress(common: list[str], tmp_path: Path) -> None:
    record, progress = tmp_path / "x.json", tmp_path / "x.json.progress.npz"
    command = ["evaluate", *common, "--defense", "none", "--metrics", "l2", "--limit", 1]
    done(*command, "-o", record)
    progress.write_bytes(b"hours of work")
    assert "x.json is current" in done(*command, "-o", record, "--skip-current")
    assert progress.read_bytes() == b"hours of work"


def test_a_plan_goes_on_after_a_defect(
    common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = tmp_path / "plan.toml"
    step = '[[steps]]\nrun = "evaluate"\ndataset = "folder"\nmetrics = "l2"\nlimit = 1\n'
    step += f'deepfake_weights = "{common[7]}"\nlabeller = "{common[5]}"\ndefense = "none"\n'
    plan.write_text("".join(f'{step}output = "{{results}}/{name}.json"\n' for name in "ab"))
    measure, calls = unmorph.evaluation.run.evaluate, iter((True, False))

    def fail_once(*arguments: Any, **options: Any) -> Any:
        if next(calls):
            raise torch.OutOfMemoryError("memory ran out")
        return measure(*arguments, **options)

    monkeypatch.setattr("unmorph.evaluation.run.evaluate", fail_once)
    result = run("experiment", plan, "--data", f"folder={common[1]}", "--results", tmp_path)
    assert result.exit_code == 1
    assert "memory ran out" in result.output
    assert "1 of 2 commands failed" in result.output
    assert not (tmp_path / "a.json").exists()
    assert (tmp_path / "b.json").exists()


def test_a_plan_goes_on_after_a_failure(common: list[str], tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    step = '[[steps]]\nrun = "evaluate"\ndataset = "folder"\nmetrics = "l2"\nlimit = 1\n'
    step += f'deepfake_weights = "{common[7]}"\nlabeller = "{common[5]}"\n'
    plan.write_text(
        f'{step}defense = "absent"\noutput = "{{results}}/a.json"\n'
        f'{step}defense = "none"\noutput = "{{results}}/b.json"\n'
    )
    result = run("experiment", plan, "--data", f"folder={common[1]}", "--results", tmp_path)
    assert result.exit_code == 1
    assert "unknown defense 'absent'" in result.output
    assert "1 of 2 commands failed" in result.output
    assert (tmp_path / "b.json").exists()

    # A wrong option and what the system refuses are failures too.
    (tmp_path / "file").write_text("no folder")
    plan.write_text(
        f'{step}defense = "none"\nrepeat = 0\noutput = "{{results}}/a.json"\n'
        f'{step}defense = "none"\nkeep_faces = "{tmp_path}/file"\noutput = "{{results}}/c.json"\n'
        f'{step}defense = "noise"\noutput = "{{results}}/d.json"\n'
        '[[steps]]\nrun = "report"\narguments = ["{results}/a.json"]\noutput = "{results}/a.md"\n'
        '[[steps]]\nrun = "report"\narguments = ["{results}/d.json"]\noutput = "{results}/d.md"\n'
    )
    result = run("experiment", plan, "--data", f"folder={common[1]}", "--results", tmp_path)
    assert result.exit_code == 1
    assert "Invalid value for '--repeat'" in result.output
    assert "is a file" in result.output
    assert "left out: it takes what command 1 was to make" in result.output
    assert "3 of 5 commands failed" in result.output
    assert (tmp_path / "d.md").exists()
    # Neither report takes a set of faces, but the first one's record does.
    for options, said in (
        (["--data", "celeba=here"], "nothing to do: give the sets that the steps are on, as in "),
        (["--data", "LFW=here"], "--data LFW: no set of faces; choose from celeba, lfw, "),
        (["--only", "sleep", "--data", f"folder={common[1]}"], "no step's command holds 'sleep'"),
    ):
        idle = run("experiment", plan, "--results", tmp_path, *options, "--list")
        assert idle.exit_code == 2
        assert said in idle.output

    for wrong, said in (
        ('run = "fly"', "no command 'fly'; choose one of bench-defenses, "),
        ('run = "evaluate"\nwings = 2', "evaluate has no option wings; choose from "),
        (
            'run = "train"\nout = "x"',
            "run = 'train': is a group of commands; choose one of train classifier, train deepfake",
        ),
    ):
        plan.write_text(f'[[steps]]\nrun = "report"\n[[steps]]\n{wrong}\n')
        result = run("experiment", plan)
        assert result.exit_code == 2
        assert f"{plan}: step 2: " in words(result)
        assert said in words(result)


def test_a_plan_takes_nothing_stale_by_any_option(common: list[str], tmp_path: Path) -> None:
    """A file of an earlier run, which a failed command was to make anew, is not gone on with."""
    plan, stale = tmp_path / "plan.toml", tmp_path / "net.onnx"
    stale.write_bytes(b"of an earlier run")
    tune = 'run = "tune"\narguments = ["refine-10"]\ndataset = "folder"\n'
    taking = [
        'run = "evaluate"\ndataset = "folder"\noption = ["weights={results}/net.onnx"]\n',
        'run = "evaluate"\ndataset = "folder"\ndefense = "x:weights={results}/net.onnx,steps=1"\n',
        'run = "train defense"\ndataset = "folder"\nweights = ["stargan={results}/net.onnx"]\n',
        f'{tune}grid = ["weights={{results}}/net.onnx"]\n',
        f'{tune}grid = ["weights=framed,{{results}}/net.onnx"]\n',
        f'{tune}grid = ["weights={{results}}/net.onnx;framed"]\n',
    ]
    plan.write_text(
        '[[steps]]\nrun = "export defense"\narguments = ["absent.pt"]\n'
        'output = "{results}/net.onnx"\n' + "".join(f"[[steps]]\n{step}" for step in taking)
    )
    result = run("experiment", plan, "--data", f"folder={common[1]}", "--results", tmp_path)
    assert result.exit_code == 1
    left = result.output.count("left out: it takes what command 1 was to make")
    assert left == len(taking), result.output


def test_nothing_is_tuned_on_what_is_reported(tmp_path: Path) -> None:
    command = ["tune", "pgd", "--data", tmp_path, "--grid", "steps=1", "--split", "test"]
    wrong = run(*command, "-o", tmp_path / "x.json")
    assert wrong.exit_code == 2
    assert "tune on val or train" in words(wrong)
    for name in ("lfw", "ffhq"):
        wrong = run(*command[:-2], "--dataset", name, "-o", tmp_path / "x.json")
        assert wrong.exit_code == 2
        assert f"--dataset {name} is what is reported" in words(wrong)


def test_a_stopped_search_goes_on(
    common: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "x.json"
    command = ["tune", "pgd", *common, "--grid", "steps=1,2,3", "--limit", 2, "-o", record]
    measured: list[str] = []
    measure = unmorph.evaluation.run.measure_batch

    def stopped(subject: Subject, *args: Any) -> Any:
        measured.append(subject.about["defense"]["changed"]["steps"])
        if measured == ["1", "2"]:
            raise KeyboardInterrupt
        return measure(subject, *args)

    monkeypatch.setattr(unmorph.evaluation.run, "measure_batch", stopped)
    assert run(*command).exit_code == 130
    assert run(*command).exit_code == 0
    assert measured == ["1", "2", "2", "3"]
    assert [path.name for path in tmp_path.iterdir()] == [record.name]
    trials = json.loads(record.read_text())["trials"]
    assert [trial["options"]["steps"] for trial in trials] == ["1", "2", "3"]
