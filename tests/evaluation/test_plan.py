"""Plans: what commands a TOML file stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from unmorph.errors import ConfigError
from unmorph.evaluation.plan import Step, read_plan

OPTIONS = ("output", "limit", "metrics", "option", "defense", "no-color")


def steps(tmp_path: Path, text: str) -> list[Step]:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    return read_plan(path, {"results": tmp_path / "out"})


def test_a_step_is_a_command_line(tmp_path: Path) -> None:
    (step,) = steps(
        tmp_path,
        '[[steps]]\nrun = "train it"\narguments = ["a.toml"]\noutput = "{results}/x.json"\n'
        'limit = 3\noption = ["a=1", "b={limit}"]\nno_color = true\ndataset = "lfw"\n',
    )
    assert step.dataset == "lfw"
    assert step.words(OPTIONS) == [
        *("train", "it", "a.toml", "--output", f"{tmp_path}/out/x.json", "--limit", "3"),
        *("--option", "a=1", "--option", "b=3", "--no-color"),
    ]


def test_each_makes_all_combinations_in_order(tmp_path: Path) -> None:
    found = steps(
        tmp_path,
        '[[steps]]\nrun = "evaluate"\noutput = "{defense}-{mode}"\n[steps.each]\n'
        'defense = ["a", "b"]\nmode = ["x", "y"]\n[[steps]]\nrun = "report"\n',
    )
    assert [step.words(OPTIONS) for step in found] == [
        # The mode is no option: only the output names it.
        *(
            ["evaluate", "--output", f"{defense}-{mode}", "--defense", defense]
            for defense in "ab"
            for mode in "xy"
        ),
        ["report"],
    ]


def test_names_of_files_have_no_arrows(tmp_path: Path) -> None:
    (step,) = steps(
        tmp_path,
        '[[steps]]\nrun = "evaluate"\noutput = "{channel}.json"\neach.channel = ["a>b"]\n',
    )
    assert step.words(["output", "channel"]) == [
        *("evaluate", "--output", "a+b.json", "--channel", "a>b"),
    ]


def test_an_empty_text_is_no_switch(tmp_path: Path) -> None:
    (step,) = steps(
        tmp_path, '[[steps]]\nrun = "train"\nmetrics = ""\nno_color = [true]\nlimit = false\n'
    )
    assert step.words(OPTIONS) == ["train", "--metrics", "", "--no-color"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "a plan is a list of"),
        ('x = 1\n[[steps]]\nrun = "a"\n', "a plan is a list of"),
        ("[[steps]]\nlimit = 1\n", "step 1: run is missing"),
        ('[[steps]]\nrun = "a"\n[[steps]]\nrun = "b"\nx = "{y}"\n', "step 2: x = '{y}': names in"),
        ('[[steps]]\nrun = "a"\neach.x = 3\n', "step 1: each: expected lists"),
        ('[[steps]]\nrun = "a"\nx = {y = 1}\n', "step 1: x: expected text, a number, or"),
        ("[[steps]", "not valid TOML"),
        ('sets = 1\n[[steps]]\nrun = "a"\n', "a plan is a list of"),
        (
            '[sets]\nceleba = "x"\n[[steps]]\nrun = "a"\n',
            "no set 'celeba'; choose",
        ),
        ('[sets]\nlfw = 1\n[[steps]]\nrun = "a"\n', "sets: lfw = 1: expected one name"),
        ('[[steps]]\nrun = "a"\ndataset = ["lfw", "ffhq"]\n', "step 1: dataset = ['lfw', 'ffhq']"),
        ('[[steps]]\nrun = "a"\neach = ["a"]\n', "step 1: each: expected lists"),
        (
            '[[steps]]\nrun = "a"\noutput = "x.json"\neach.defense = ["b", "c"]\n',
            "x.json is what 2 commands would make",
        ),
        ("steps = [1]\n", "step 1: expected a table, got 1"),
        ("[[steps]]\nrun = []\n", "step 1: run = []: expected one name"),
        ('[[steps]]\nrun = ""\n', "step 1: run is empty"),
        ('[[steps]]\nrun = "a"\nx = "{run.y}"\n', "step 1: x = '{run.y}': names in"),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=r"plan\.toml") as error:
        steps(tmp_path, text)
    assert said in str(error.value)
