from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unmorph.datasets.base import FaceDataset
from unmorph.evaluation.document import Document, Picture, Section
from unmorph.evaluation.record import (
    Figure,
    MethodTime,
    Record,
    TimingRecord,
    TuningRecord,
    method_name,
)
from unmorph.evaluation.run import Subject, evaluate
from unmorph.evaluation.summary import Summary
from unmorph.evaluation.tables import build_report

Rows = list[dict[str, str]]


@pytest.fixture
def record(dataset: FaceDataset, subject: Callable[..., Subject]) -> Record:
    about = {"name": "celeba", "split": "test", "subset": None}
    options: dict[str, Any] = {"metric_names": ("l2", "psnr")}
    found = evaluate(subject(), dataset, about_dataset=about, **options)
    return named(found, name="defense-subtle", file="defense-subtle.onnx", sha256="0" * 64)


def named(record: Record, **defense: Any) -> Record:
    return dataclasses.replace(record, defense={"changed": {}, **defense})


def section(document: Document, title: str) -> Section:
    return next(section for section in document.sections if section.title.startswith(title))


def rows(document: Document, title: str) -> Rows:
    """Return a table's rows by heading; a paper column is called after the one before it."""
    table = section(document, title).table
    headings = list(table.headings)
    for place, heading in enumerate(headings):
        if heading == "paper":
            headings[place] = f"paper {headings[place - 1]}"
    return [dict(zip(headings, row, strict=True)) for row in table.rows]


def test_our_figures_stand_beside_the_papers(record: Record) -> None:
    document = build_report([record])
    (row,) = rows(document, "Table 1")
    ours = record.figures["input"]["l2"].overall
    assert ours.mean is not None
    assert section(document, "Table 1").title.startswith("Table 1, CelebA: ")
    assert (row["faces"], row["method"]) == ("7", "defense-subtle")
    assert row["L2"] == f"{ours.mean:.6f} ± {ours.standard_error:.6f}"
    assert row["paper L2"] == f"0.0002 (× {ours.mean / 0.0002:.2f})"  # noqa: RUF001
    psnr = record.mean("input", "psnr")
    assert psnr is not None
    assert row["paper PSNR"] == f"42.68 ({psnr - 42.6844:+.2f} dB)"
    # Not measured here, but printed by the paper.
    assert (row["SSIM"], row["paper SSIM"]) == ("-", "0.9887")
    assert row["paper perceptual"] == "11.63"
    assert "paper LBP changed" not in row


def test_another_kind_of_deepfake_is_in_the_appendix(record: Record) -> None:
    ages = [f"{10 * decade}" for decade, _ in enumerate(record.deepfake["edits"])]
    figures = {
        comparison: {
            metric: Figure(figure.overall, dict(zip(ages, figure.edits.values(), strict=False)))
            for metric, figure in found.items()
        }
        for comparison, found in record.figures.items()
    }
    deepfake = {**record.deepfake, "name": "aging", "edits": ages}
    other = dataclasses.replace(record, deepfake=deepfake, figures=figures)
    document = build_report([other, other, record])
    for number, count in ((1, 1), (2, 2), (3, 1)):
        assert len(rows(document, f"Table {number}")) == count
        of_other = rows(document, f"Other runs, as in table {number}")
        assert {row["deepfake"] for row in of_other} == {"aging"}
        assert "paper L2" not in of_other[0]
    assert "CelebA (7), aging" in {row["set"] for row in rows(document, "Edit by edit")}


def test_unprotected_faces_are_shown_once_a_set(record: Record) -> None:
    floor, paper_pgd = named(record, name="none"), named(record, name="pgd-paper")
    tuned = named(record, name="pgd", changed={"steps": "10"})
    document = build_report([floor, record, paper_pgd, tuned])
    table = rows(document, "Table 2")
    assert [row["method"] for row in table] == [
        "no defense",
        "pgd-paper",
        "defense-subtle",
        "pgd (steps=10)",
    ]
    papers = [row["paper L2"].split(" ")[0] for row in table]
    assert papers == ["0.0435", "0.0039", "0.0018", "-"]
    assert [row["paper DSR at 0.05"] for row in table] == ["-", "100 %", "100 %", "-"]
    for row, metric in zip(table, ("unprotected", *["protected"] * 3), strict=True):
        assert row["DSR at 0.05"].startswith(f"{100 * (record.mean('dsr', metric) or 0):.1f}")
    before, after = record.mean("unprotected", "l2"), record.mean("output", "l2")
    assert before is not None
    assert after is not None
    assert table[2]["of unprotected L2"] == f"{100 * after / before:.1f} %"
    assert rows(document, "Table 3")[0]["method"] == "pgd-paper"


@pytest.mark.parametrize(
    ("deepfake", "digits"),
    [
        ({"origin": "random weights"}, "-"),
        ({"sha256": "b" * 64}, "b" * 12),
    ],
)
def test_runs_say_which_weights_they_are_of(
    record: Record, deepfake: dict[str, str], digits: str
) -> None:
    edits = record.deepfake["edits"]
    about = {"name": "stargan", "edits": edits, **deepfake}
    (row,) = rows(build_report([dataclasses.replace(record, deepfake=about)]), "The runs")
    assert (row["its weights"], row["the deepfake's weights"]) == ("0" * 12, digits)


def test_the_deepfake_of_most_records_is_compared(record: Record) -> None:
    other = dataclasses.replace(record, deepfake={**record.deepfake, "sha256": "b" * 64})
    document = build_report([record, other, named(other, name="pgd")])
    assert [row["method"] for row in rows(document, "Table 1")] == ["defense-subtle", "pgd"]
    assert document.introduction.endswith("ours: tint (bbbbbbbbbbbb).")
    assert len(rows(document, "Other runs, as in table 1")) == 1


def test_few_faces_and_faces_to_tune_on_are_in_the_appendix(record: Record) -> None:
    few = dataclasses.replace(record, settings={**record.settings, "limit": 7})
    val = dataclasses.replace(record, dataset={**record.dataset, "split": "val"})
    document = build_report([few, record, val])
    assert len(rows(document, "Table 1")) == 1
    assert [row["set"] for row in rows(document, "Other runs, as in table 1")] == [
        "CelebA (7)",
        "CelebA val (7)",
    ]
    titles = [part.title for part in document.sections]
    appendix = titles.index("Appendix: other runs")
    assert titles[-2:] == ["Edit by edit", "The runs"]
    assert {part.level for part in document.sections[: appendix + 1]} == {1}
    assert {part.level for part in document.sections[appendix + 1 :]} == {2}
    assert all(not title.startswith("Other runs") for title in titles[:appendix])
    assert len(rows(document, "The runs")) == 3


def test_sets_stand_in_the_papers_order_and_whole_ones_before_subsets(record: Record) -> None:
    def of(name: str, method: str, subset: str | None = None) -> Record:
        count, photos = (5, f"{name} {subset}") if subset else (7, name)
        faces = {"name": name, "split": None, "subset": subset}
        dataset = {**record.dataset, **faces, "count": count, "photos_sha256": photos}
        learned = {"sha256": "0", "file": "x.onnx"} if method == "shipped" else {}
        return dataclasses.replace(record, dataset=dataset, defense={"name": method, **learned})

    document = build_report(
        [
            of("ffhq", "shipped"),
            of("lfw", "i-fgsm", "paper-200"),
            of("lfw", "shipped", "paper-200"),
            named(of("lfw", "pgd-paper", "paper-200"), name="pgd-paper"),
            of("lfw", "shipped"),
            of("folder", "shipped"),
            of("celeba", "shipped"),
        ]
    )
    titles = [part.title for part in document.sections if part.title.startswith("Table 1")]
    assert [title.split(":")[0] for title in titles] == [
        "Table 1, CelebA",
        "Table 1, LFW",
        "Table 1, FFHQ",
        "Table 1, folder",
    ]
    of_lfw = [(row["faces"], row["method"]) for row in rows(document, "Table 1, LFW")]
    assert of_lfw == [
        ("7", "shipped"),
        ("paper-200 (5)", "pgd-paper"),
        ("paper-200 (5)", "shipped"),
        ("paper-200 (5)", "i-fgsm"),
    ]
    # The paper has no such set.
    assert "paper" not in section(document, "Table 1, folder").table.headings


@pytest.mark.parametrize(
    ("epsilon", "printed"), [(0.05, "0.0002"), (0.14, "-")], ids=["the paper's", "more"]
)
def test_the_papers_generator_stands_beside_those_of_its_epsilon(
    record: Record, epsilon: float, printed: str
) -> None:
    (row,) = rows(
        build_report([named(record, **{**record.defense, "epsilon": epsilon})]), "Table 1"
    )
    assert row["paper L2"].split(" ")[0] == printed


def test_perceptual_ratios_are_of_the_same_faces(record: Record) -> None:
    def with_perceptual(mean: float, **defense: Any) -> Record:
        figure = Figure(summary(mean), {})
        figures = {**record.figures, "input": {**record.figures["input"], "perceptual": figure}}
        return dataclasses.replace(named(record, **defense), figures=figures)

    ours = with_perceptual(20.0, name="shipped", file="x.onnx", sha256="0")
    pgd = with_perceptual(50.0, name="pgd-paper")
    note = section(build_report([ours, pgd]), "Table 1").note
    assert "20.6 times the generator's in the paper" in note
    assert note.endswith("here it is 2.5 times that of shipped on 7.")
    elsewhere = dataclasses.replace(pgd, dataset={**pgd.dataset, "photos_sha256": "b" * 64})
    assert "here it is" not in section(build_report([ours, elsewhere]), "Table 1").note


@pytest.mark.parametrize(
    ("changed", "printed"),
    [
        ({"steps": "10"}, "-"),
        ({"precision": "bf16"}, "0.0008"),
        ({"precision": "bf16", "k": ""}, "-"),
    ],
)
def test_a_changed_paper_setting_is_not_the_papers(
    record: Record, changed: dict[str, str], printed: str
) -> None:
    (row,) = rows(build_report([named(record, name="pgd-paper", changed=changed)]), "Table 1")
    assert row["paper L2"].split(" ")[0] == printed


def test_ablations_have_a_table_of_their_own(record: Record) -> None:
    file = {"file": "bare.onnx", "sha256": "1" * 64, "without": "L_adv"}
    bare = named(record, name="bare", budget="9 steps of 8", **file)
    full = named(record, name="full", budget="9 steps of 8")
    shipped = named(record, name="shipped", file="defense-subtle.onnx", sha256="2" * 64)
    document = build_report([bare, full, shipped])
    # The networks of table 4 are there to be compared with each other alone.
    assert [row["method"] for row in rows(document, "Table 1")] == ["shipped"]
    others = [row["method"] for row in rows(document, "Other runs: does the edit die?")]
    assert others == ["bare", "full"]
    first, second = rows(document, "Table 4")
    assert (first["loss removed"], first["network"]) == ("L_adv", "bare")
    assert first["paper x, x_adv"].startswith("1e-07 (")
    assert (second["loss removed"], second["network"]) == ("none", "full")
    assert second["paper x_adv, G(x_adv)"].startswith("0.0018 (")
    assert not any(s.title.startswith("Table 4") for s in build_report([record]).sections)


def test_times_are_multiples_of_the_generators(record: Record) -> None:
    methods = [
        MethodTime({"name": "shipped", "changed": {}, "sha256": "0"}, summary(0.02)),
        MethodTime({"name": "pgd-paper", "changed": {}}, summary(30.0)),
        MethodTime({"name": "pgd", "changed": {"steps": "10"}}, summary(3.0)),
    ]
    timing = TimingRecord(
        created="2026-11-27",
        dataset={"name": "celeba", "count": 100},
        deepfake={"name": "stargan", "edits": ["Male"]},
        settings={},
        machine={"name": "a CPU", "threads": 2, "device": "cpu"},
        versions={},
        commit="0123456789abcdef",
        methods=methods,
    )
    document = build_report([timing])
    table = rows(document, "Efficiency")
    assert [row["times the generator"] for row in table] == ["1.0", "1,500.0", "150.0"]
    assert [row["paper times the generator"] for row in table] == ["-", "more than 10", "-"]
    assert [row["its weights"] for row in table] == ["0", "-", "-"]
    assert table[2]["method"] == "pgd (steps=10)"
    note = section(document, "Efficiency").note
    assert "a CPU, 2 threads" in note
    assert note.endswith("deepfake stargan; commit 0123456789ab, 2026-11-27.")
    assert [s.title for s in document.sections] == ["Efficiency"]


def summary(mean: float) -> Summary:
    return Summary(mean, None, {}, 5)


def test_every_row_is_as_long_as_its_headings_and_no_edit_is_missing(record: Record) -> None:
    document = build_report([record, named(record, name="none")])
    for part in document.sections:
        if not part.table.rows:
            continue
        assert {len(row) for row in part.table.rows} == {len(part.table.headings)}
    edits = {row["edit"] for row in rows(document, "Edit by edit")}
    assert edits == set(record.deepfake["edits"])


def test_subsets_are_named(record: Record) -> None:
    subset = dataclasses.replace(record, dataset={**record.dataset, "subset": "paper-200"})
    document = build_report([subset])
    assert rows(document, "Table 1")[0]["faces"] == "paper-200 (7)"
    assert rows(document, "The runs")[0]["set"] == "CelebA paper-200 (7)"


def test_photos_left_out_are_counted(record: Record) -> None:
    dataset = {**record.dataset, "left_out": ["1.png", "2.png"]}
    (row,) = rows(build_report([dataclasses.replace(record, dataset=dataset)]), "Table 1")
    assert row["faces"] == "7, 2 unreadable left out"


def test_commits_of_a_resumed_run_are_shortened_each(record: Record) -> None:
    commit = f"{'a' * 40}, {'b' * 40}-dirty"
    (row,) = rows(build_report([dataclasses.replace(record, commit=commit)]), "The runs")
    assert row["commit"] == f"{'a' * 12}, {'b' * 12}-dirty"


def test_percentages_have_standard_errors(record: Record) -> None:
    suppression = record.figures["suppression"]
    strict = dataclasses.replace(suppression["strict_dsr"], overall=Summary(0.9932, 0.0012, {}, 7))
    figures = {**record.figures, "suppression": {**suppression, "strict_dsr": strict}}
    document = build_report([dataclasses.replace(record, figures=figures)])
    (row,) = rows(document, "Does the edit die?")
    assert row["strict DSR (s >= 0.75)"] == "99.3 ± 0.1 %"
    assert "±" in row["DSR at 0.05"]
    assert "±" in rows(document, "Edit by edit")[0]["counted"]


def test_what_distortion_wants_is_shown_where_it_was_measured(record: Record) -> None:
    older = {name: table for name, table in record.figures.items() if name != "edits"}
    figure = Figure(Summary(0.12, 0.01, {}, 7), {})
    newer = dataclasses.replace(record, figures={**older, "edits": {"l2": figure}})
    old = dataclasses.replace(named(record, name="pgd"), figures=older)
    document = build_report([newer, old])
    shown = [row["L2 of edits"] for row in rows(document, "Does the edit die?")]
    assert shown == ["0.12000 ± 0.01000", "-"]
    assert "distortion" in section(document, "Does the edit die?").note
    assert "L2 of edits" not in rows(build_report([old]), "Does the edit die?")[0]


def test_searches_of_options_are_one_table(record: Record) -> None:
    def trial(s: float, psnr: float = 43.25, **options: str) -> dict[str, Any]:
        figures = {"s": s, "strict_dsr": 0.8, "input_psnr": psnr, "seconds": 81.94}
        return {"options": options, **figures}

    def searched(created: str, count: int, trials: list[dict[str, Any]]) -> TuningRecord:
        return TuningRecord(
            created=created,
            dataset={"name": "celeba", "split": "val", "count": count},
            deepfake={"name": "stargan", "edits": ["Male"]},
            defense={"name": "pgd", "epsilon": 0.05},
            settings={},
            machine={"name": "a CPU", "threads": 2, "device": "cpu"},
            versions={},
            commit="0" * 40,
            trials=trials,
            best=max(trials, key=lambda trial: trial["s"]),
        )

    later = searched("2026-11-28", 3, [trial(0.9, steps="100", schedule="linear")])
    trials = [trial(0.95, 41.99, steps="10"), trial(0.83, steps="5"), trial(0.8, steps="2")]
    first = searched("2026-11-27", 8, trials)
    document = build_report([later, first])
    assert [part.title for part in document.sections] == ["How PGD was tuned"]
    table = rows(document, "How PGD was tuned")
    assert [(row["search"], row["steps"], row["schedule"]) for row in table] == [
        ("1", "10", "as registered"),
        ("1", "5", "as registered"),
        ("1", "2", "as registered"),
        ("2", "100", "linear"),
    ]
    within = "best from 42 dB on"
    assert [row["of its search"] for row in table] == ["best", within, "-", f"best, {within}"]
    shown = [table[0][name] for name in ("s", "strict DSR", "PSNR", "seconds")]
    assert shown == ["0.9500", "80.0 %", "41.99", "81.9"]
    note = section(document, "How PGD was tuned").note
    assert "1 on CelebA val (8) against stargan, a CPU, 2 threads" in note
    assert "2 on CelebA val (3)" in note


def test_figures_stand_by_the_papers_numbers_before_the_appendix(record: Record) -> None:
    captions = ["A map", "Figure 4: differences", "Figure 3: edits", "Failures"]
    pictures = [Picture(Path(f"{place}.png"), text) for place, text in enumerate(captions)]
    document = build_report([record], pictures)
    titles = [part.title for part in document.sections]
    assert titles.index("Figures") < titles.index("Appendix: other runs")
    shown = [picture.caption for picture in section(document, "Figures").pictures]
    assert shown == ["Figure 3: edits", "Figure 4: differences", "A map", "Failures"]


def test_aims_come_first(record: Record) -> None:
    assert build_report([record]).sections[0].title == "Aims"


def test_method_names() -> None:
    assert method_name({"name": "pgd", "changed": {}}) == "pgd"
    changed = {"steps": "10", "mode": "invalid"}
    assert method_name({"name": "pgd", "changed": changed}) == "pgd (steps=10, mode=invalid)"
    assert method_name({"name": "pgd", "epsilon": 0.05}) == "pgd"
    assert method_name({"name": "pgd", "epsilon": 0.1}) == "pgd (epsilon=0.1)"
    assert method_name({"name": "strong", "epsilon": 0.1, "sha256": "a"}) == "strong"
