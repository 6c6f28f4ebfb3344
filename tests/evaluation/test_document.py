from __future__ import annotations

import base64
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from unmorph.errors import ConfigError, DataError
from unmorph.evaluation.document import Document, Picture, Section, Table, render


@pytest.fixture
def document(tmp_path: Path) -> Document:
    path = tmp_path / "pictures" / "one.png"
    path.parent.mkdir()
    about = PngInfo()
    about.add_text("Description", "Faces <before> & after")
    Image.new("RGB", (3, 2), "red").save(path, pnginfo=about)
    table = Table(("method", "s"), [["x_adv & co", "1 ± 2"], ["100 %", "<3>"]])
    section = Section("Figures of x_adv", "A note.", table)
    return Document("Evaluation", "Means.", [section], [Picture.open(path)])


def test_markdown(document: Document, tmp_path: Path) -> None:
    assert render(document, tmp_path / "x.md") == (
        "# Evaluation\n\nMeans.\n\n## Figures of x_adv\n\nA note.\n\n"
        "| method | s |\n| --- | --- |\n| x_adv & co | 1 ± 2 |\n| 100 % | <3> |\n\n"
        "![Faces <before> & after](pictures/one.png)\n\nFaces <before> & after\n"
    )


class Cells(HTMLParser):
    """Collects the text of cells and the sources of pictures."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.sources: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag in ("td", "th")
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells.append(data)


def test_html_holds_everything(document: Document, tmp_path: Path) -> None:
    page = Cells()
    page.feed(render(document, tmp_path / "x.html"))
    assert page.cells == ["method", "s", "x_adv & co", "1 ± 2", "100 %", "<3>"]
    (source,) = page.sources
    head, data = source.split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == document.pictures[0].path.read_bytes()


def test_latex_escapes(document: Document, tmp_path: Path) -> None:
    text = render(document, tmp_path / "x.tex")
    assert "x\\_adv \\& co & 1 $\\pm$ 2 \\\\" in text
    assert "100 \\% & $<$3$>$ \\\\" in text
    assert "{pictures/one.png}" in text
    assert text.count("\\begin{") == text.count("\\end{")


def test_other_endings_are_refused(document: Document, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.pdf: cannot render that; end it in \.md, \.html"):
        render(document, tmp_path / "x.pdf")


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(DataError, match=r"x\.png: not a readable picture"):
        Picture.open(tmp_path / "x.png")
