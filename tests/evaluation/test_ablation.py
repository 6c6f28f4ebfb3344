from __future__ import annotations

from collections.abc import Callable

import pytest

from unmorph.evaluation.ablation import ablation_records, ablation_section
from unmorph.evaluation.record import Record

Found = Callable[..., Record]
Means = dict[str, tuple[float, float]]

FULL: Means = {
    "input/l2": (0.0004, 0.00001),
    "output/l2": (0.0034, 0.0001),
    "total/l2": (0.0039, 0.0001),
    "input/psnr": (40.4, 0.04),
    "suppression/s": (0.9, 0.003),
}


def network(
    name: str, without: str | None = None, budget: str | None = "9 steps of 8"
) -> dict[str, str | None]:
    names = {"name": name, "file": f"{name}.onnx", "sha256": name}
    return {**names, "without": without, "budget": budget}


def test_networks_of_table_4_are_those_of_the_same_faces_and_budget(found: Found) -> None:
    bare = found(FULL, network("bare", "L_pix"))
    full = found(FULL, network("full"))
    longer = found(FULL, network("longer", budget="99 steps of 8"))
    unknown = found(FULL, network("unknown", budget=None))
    elsewhere = found(FULL, network("full"), {"photos_sha256": "b" * 64})
    pgd = found(FULL, {"name": "pgd"})
    assert ablation_records([bare, full, longer, unknown, elsewhere, pgd]) == [bare, full]
    assert ablation_records([full, longer, unknown, elsewhere, pgd]) == []
    old = found(FULL, network("old", "L_pix", None))
    assert ablation_records([old, unknown]) == [old]


def test_table_has_errors_psnr_and_what_else_was_measured(found: Found) -> None:
    none = {**FULL, "input/l2": (3.3e-07, 1.2e-08), "input/lpips": (0.00123, 0.00001)}
    records = [found(none, network("bare", "L_adv")), found(FULL, network("full"))]
    table = ablation_section(records).table
    bare, full = (dict(zip(table.headings, row, strict=True)) for row in table.rows)
    assert bare["x, x_adv"] == "3e-07 ± 1e-08"
    assert full["x, x_adv"] == "0.000400 ± 0.000010"
    assert full["PSNR"] == "40.40 ± 0.04"
    assert (bare["LPIPS"], full["LPIPS"]) == ("0.00123 ± 0.00001", "-")
    assert "perceptual" not in table.headings
    papers = [place for place, heading in enumerate(table.headings) if heading == "paper"]
    assert table.rows[0][papers[0]].startswith("1e-07 (")
    assert table.rows[1][papers[1]].startswith("0.0018 (")


@pytest.mark.parametrize(
    ("seen", "left", "said"),
    [
        (0.0008, 0.0034, "table 1 is worse, table 2 no different: it earns its place."),
        (0.0003, 0.0300, "table 1 is better, table 2 worse: it earns its place."),
        (0.0003, 0.0034, "table 1 is better, table 2 no different: it does not earn its place."),
        # Two standard errors of the difference of two figures, not of one.
        (0.0004, 0.00367, "table 1 is no different, table 2 no different: it does not earn"),
        (0.0004, 0.00369, "table 1 is no different, table 2 worse: it earns its place."),
    ],
)
def test_report_says_whether_a_term_earns_its_place(
    found: Found, seen: float, left: float, said: str
) -> None:
    without = {**FULL, "input/l2": (seen, 0.00001), "output/l2": (left, 0.0001)}
    records = [found(without, network("bare", "L_feat")), found(FULL, network("full"))]
    note = ablation_section(records).note
    assert f"On CelebA (1,999) without L_feat {said}" in note
    assert "All were trained for 9 steps of 8 faces." in note
    assert "without L_feat" not in ablation_section(records[:1]).note


def test_report_compares_what_was_trained_alike(found: Found) -> None:
    longer = "99 steps of 8"
    without = {**FULL, "output/l2": (0.03, 0.0001)}
    records = [
        found(FULL, network("bare", "L_feat")),
        found(without, network("bare-longer", "L_adv", longer)),
        found(FULL, network("full")),
        found(FULL, network("full-longer", budget=longer)),
    ]
    note = ablation_section(records).note
    assert "They were not trained alike, but for 9 steps of 8, 99 steps of 8 faces." in note
    assert note.count("without L_feat") == note.count("without L_adv") == 1
    assert "without L_adv table 1 is no different, table 2 worse" in note
    old = found(FULL, network("old", "L_pix", None))
    assert "Not all of these networks' files say" in ablation_section([old]).note
