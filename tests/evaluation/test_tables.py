from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from unmorph.datasets.base import FaceDataset
from unmorph.evaluation.document import Document, Section
from unmorph.evaluation.record import Figure, MethodTime, Record, TimingRecord, method_name
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
    assert (row["set"], row["method"]) == ("CelebA (7)", "defense-subtle")
    assert row["L2"] == f"{ours.mean:.5f} ± {ours.standard_error:.5f}"
    assert row["paper L2"] == f"0.0002 (× {ours.mean / 0.0002:.2f})"  # noqa: RUF001
    psnr = record.mean("input", "psnr")
    assert psnr is not None
    assert row["paper PSNR"] == f"42.68 ({psnr - 42.6844:+.2f} dB)"
    # Not measured here, but printed by the paper.
    assert (row["SSIM"], row["paper SSIM"]) == ("-", "0.9887")
    assert row["paper perceptual"] == "11.63"
    assert "paper LBP changed" not in row


def test_another_kind_of_deepfake_is_named_and_not_beside_the_papers(record: Record) -> None:
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
    document = build_report([record, other])
    for title in ("Table 1", "Table 2", "Table 3"):
        papers = {(row["set"], row["paper L2"][:6].strip()) for row in rows(document, title)}
        sets = {name for name, _ in papers}
        assert sets == {"CelebA (7)", "CelebA (7), aging"}
        assert {number for name, number in papers if name.endswith("aging")} == {"-"}
        assert "-" not in {number for name, number in papers if not name.endswith("aging")}


def test_unprotected_faces_are_shown_once_a_set(record: Record) -> None:
    floor, paper_pgd = named(record, name="none"), named(record, name="pgd-paper")
    tuned = named(record, name="pgd", changed={"steps": "10"})
    document = build_report([floor, record, paper_pgd, tuned])
    table = rows(document, "Table 2")
    assert [row["method"] for row in table] == [
        "no defense",
        "defense-subtle",
        "pgd-paper",
        "pgd (steps=10)",
    ]
    papers = [row["paper L2"].split(" ")[0] for row in table]
    assert papers == ["0.0435", "0.0018", "0.0039", "-"]
    before, after = record.mean("unprotected", "l2"), record.mean("output", "l2")
    assert before is not None
    assert after is not None
    assert table[1]["of unprotected L2"] == f"{100 * after / before:.1f} %"
    assert rows(document, "Table 3")[0]["method"] == "defense-subtle"


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


def test_records_of_several_deepfakes_are_named_as_such(record: Record) -> None:
    other = dataclasses.replace(record, deepfake={**record.deepfake, "sha256": "b" * 64})
    assert "more than one deepfake" in build_report([record, other]).introduction
    assert "more than one deepfake" not in build_report([record, record]).introduction


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
    bare = named(record, name="bare", file="bare.onnx", sha256="1" * 64, without="L_adv")
    shipped = named(record, name="shipped", file="defense-subtle.onnx", sha256="2" * 64)
    document = build_report([bare, record, shipped])
    assert [row["method"] for row in rows(document, "Table 1")] == ["defense-subtle", "shipped"]
    first, full = rows(document, "Table 4")
    assert (first["loss removed"], first["network"]) == ("L_adv", "bare")
    assert first["paper x, x_adv"].startswith("1e-07 (")
    assert (full["loss removed"], full["network"]) == ("none", "defense-subtle")
    assert full["paper x_adv, G(x_adv)"].startswith("0.0018 (")
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
        assert {len(row) for row in part.table.rows} == {len(part.table.headings)}
    edits = {row["edit"] for row in rows(document, "Edit by edit")}
    assert edits == set(record.deepfake["edits"])


def test_subsets_are_named(record: Record) -> None:
    subset = dataclasses.replace(record, dataset={**record.dataset, "subset": "paper-200"})
    (row,) = rows(build_report([subset]), "Table 1")
    assert row["set"] == "CelebA paper-200 (7)"


def test_method_names() -> None:
    assert method_name({"name": "pgd", "changed": {}}) == "pgd"
    changed = {"steps": "10", "mode": "invalid"}
    assert method_name({"name": "pgd", "changed": changed}) == "pgd (steps=10, mode=invalid)"
