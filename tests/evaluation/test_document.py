from __future__ import annotations

import base64
import re
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
    sections = [
        Section("Figures of x_adv", "A note.", table),
        Section("Pictures, 2 of them!", pictures=[Picture.open(path)], level=2),
        Section("Figures of x_adv", level=2),
    ]
    return Document("Evaluation", "Means.", sections)


def test_markdown(document: Document, tmp_path: Path) -> None:
    assert render(document, tmp_path / "x.md") == (
        "# Evaluation\n\nMeans.\n\n"
        "- [Figures of x_adv](#figures-of-x_adv)\n"
        "  - [Pictures, 2 of them!](#pictures-2-of-them)\n"
        "  - [Figures of x_adv](#figures-of-x_adv-1)\n\n"
        "## Figures of x_adv\n\nA note.\n\n"
        "| method | s |\n| --- | --- |\n| x_adv & co | 1 ± 2 |\n| 100 % | <3> |\n\n"
        "### Pictures, 2 of them!\n\n"
        "![Faces <before> & after](pictures/one.png)\n\nFaces <before> & after\n\n"
        "### Figures of x_adv\n"
    )


class Page(HTMLParser):
    """Collects the text of cells, the sources of pictures, links and what they lead to."""

    def __init__(self) -> None:
        super().__init__()
        self.cells: list[str] = []
        self.sources: list[str] = []
        self.links: list[str] = []
        self.anchors: list[str] = []
        self.inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag in ("td", "th")
        for name, value in attrs:
            kept = {"src": self.sources, "href": self.links, "id": self.anchors}.get(name, [])
            kept.append(value or "")

    def handle_endtag(self, tag: str) -> None:
        self.inside = False

    def handle_data(self, data: str) -> None:
        if self.inside:
            self.cells.append(data)


def test_html_holds_everything(document: Document, tmp_path: Path) -> None:
    page = Page()
    page.feed(render(document, tmp_path / "x.html"))
    assert page.cells == ["method", "s", "x_adv & co", "1 ± 2", "100 %", "<3>"]
    (source,) = page.sources
    head, data = source.split(",")
    assert head == "data:image/png;base64"
    assert base64.b64decode(data) == document.sections[1].pictures[0].path.read_bytes()
    assert page.anchors == ["figures-of-x_adv", "pictures-2-of-them", "figures-of-x_adv-1"]
    assert page.links == [f"#{anchor}" for anchor in page.anchors]


def test_a_photo_keeps_its_kind(tmp_path: Path) -> None:
    path = tmp_path / "me.jpg"
    Image.new("RGB", (3, 2)).save(path)
    picture = Picture.open(path)
    assert picture.caption == "me"
    page = Page()
    document = Document("One", "", [Section("Pictures", pictures=[picture])])
    page.feed(render(document, tmp_path / "x.html"))
    assert page.sources[0].startswith("data:image/jpeg;base64,")


def test_captions_name_what_drew_the_picture(tmp_path: Path) -> None:
    about = PngInfo()
    about.add_text("Description", "Figure 3: edits")
    about.add_text("Networks", f"stargan.onnx {'ab' * 32}, defense.onnx {'12' * 32}")
    about.add_text("Software", f"unmorph 0.1.0, commit {'c0' * 20}-dirty")
    path = tmp_path / "one.png"
    Image.new("RGB", (3, 2)).save(path, pnginfo=about)
    assert Picture.open(path).caption == (
        f"Figure 3: edits. Networks: stargan.onnx {'ab' * 6}, defense.onnx {'12' * 6}. "
        f"Software: unmorph 0.1.0, commit {'c0' * 6}-dirty"
    )


def braces(text: str) -> int:
    """Return how many groups are left open."""
    plain = text.replace("\\{", "").replace("\\}", "")
    return plain.count("{") - plain.count("}")


def test_latex_escapes(document: Document, tmp_path: Path) -> None:
    text = render(document, tmp_path / "x.tex")
    assert "x\\_adv \\& co & 1 $\\pm$ 2 \\\\" in text
    assert "100 \\% & $<$3$>$ \\\\" in text
    assert "{pictures/one.png}" in text
    assert text.count("\\begin{") == text.count("\\end{")
    assert braces(text) == 0
    assert "\\section{Figures of x\\_adv}" in text
    assert "\\subsection{Pictures, 2 of them!}" in text
    # What follows the end of a row in brackets, or a star, would be taken for an option of it.
    rows = Document("One", "", [Section("A", table=Table(("a",), [["[1"], ["*"]]))])
    assert "{[}1 \\\\\n{*} \\\\" in render(rows, tmp_path / "x.tex")


def test_latex_tables_go_on_over_pages(document: Document, tmp_path: Path) -> None:
    text = render(document, tmp_path / "x.tex")
    assert "\\usepackage{array,booktabs,graphicx,longtable}" in text
    table = text[text.index("\\begin{longtable}") : text.index("\\end{longtable}")]
    assert table.startswith(
        "\\begin{longtable}{ll}\n\\toprule\nmethod & s \\\\\n\\midrule\n\\endhead"
    )
    assert table.index("\\endfoot") < table.index("co & 1")


def test_latex_tables_are_no_wider_than_a_page(tmp_path: Path) -> None:
    words = " ".join(["word"] * 30)
    table = Table(("name", *"abcdefghij"), [[words, *(["0.00021 ± 0.00001"] * 10)]])
    text = render(Document("One", "", [Section("A", table=table)]), tmp_path / "x.tex")
    line = next(line for line in text.splitlines() if line.startswith("\\begin{longtable}"))
    shares = [float(share) for share in re.findall(r"p\{(0\.\d+)\\linewidth\}", line)]
    assert len(shares) == 11
    gap = 2 * 3 / (267 / 25.4 * 72.27)  # 3 pt on both sides, of 267 mm
    assert 0.8 < sum(shares) + 11 * gap <= 1
    assert min(shares) > 0.05
    assert braces(text) == 0


def test_other_endings_are_refused(document: Document, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"x\.pdf: cannot render that; end it in \.md, \.html"):
        render(document, tmp_path / "x.pdf")


def test_other_pictures_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.png").write_text("no picture")
    with pytest.raises(DataError, match=r"x\.png: not a readable picture"):
        Picture.open(tmp_path / "x.png")
    Image.new("RGB", (3, 2)).save(tmp_path / "x.bmp")
    with pytest.raises(DataError, match=r"x\.bmp: a BMP picture; give a PNG or a JPEG"):
        Picture.open(tmp_path / "x.bmp")
