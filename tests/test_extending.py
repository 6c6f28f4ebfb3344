"""The examples of docs/extending.md are run as they stand there."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from unmorph import deepfakes, defenses
from unmorph.deepfakes import base as deepfakes_base
from unmorph.defenses import base as defenses_base
from unmorph.export import example_faces
from unmorph.registry import import_modules

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


@pytest.fixture
def examples(tmp_path: Path) -> Iterator[list[ModuleType]]:
    """The page's modules, which are forgotten again."""
    registries: list[dict[str, Any]] = [deepfakes_base._LOADERS, defenses_base._BUILDERS]
    before = [dict(registry) for registry in registries]
    for registry in registries:  # they may have been saved where the page says
        for name in ("fade", "proportional"):
            registry.pop(name, None)
    modules = []
    for place, code in enumerate(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)):
        path = tmp_path / f"example_{place}.py"
        path.write_text(code)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None
        assert spec.loader is not None
        modules.append(importlib.util.module_from_spec(spec))
        spec.loader.exec_module(modules[-1])
    yield modules
    for registry, entries in zip(registries, before, strict=True):
        registry.clear()
        registry.update(entries)


def test_the_page_s_deepfake_and_defense_work_together(examples: list[ModuleType]) -> None:
    assert len(examples) == 2
    assert "fade" in deepfakes.names()
    fade = deepfakes.load("fade")
    faces = example_faces(2, 32)
    grey = fade.edit(faces, "Grey")
    torch.testing.assert_close(grey[:, 0], faces.mean(1))
    defense = defenses.load("proportional", fade, options={"steps": "5"})
    protected = defense.protect(faces)
    assert 0 < (protected - faces).abs().max() <= 0.05 + 1e-6

    def left(batch: torch.Tensor) -> float:
        return (fade.edit(batch, "Grey") - batch).square().mean().item()

    assert left(protected) < 0.95 * left(faces)


def test_modules_of_a_package_are_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "herd"
    package.mkdir()
    for name in ("__init__", "one", "two"):
        (package / f"{name}.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(sys, "modules", dict(sys.modules))
        import_modules("herd", [str(package)])
        assert {"herd.one", "herd.two"} <= set(sys.modules)
