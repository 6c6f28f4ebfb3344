from __future__ import annotations

import importlib.util
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import unmorph
from unmorph import cli, runtime
from unmorph.cli._extras import require_torch
from unmorph.errors import MissingExtraError


def test_version_names_the_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cli._SHIPPED == runtime.SHIPPED
    (tmp_path / "some.onnx").write_bytes(b"abc")
    monkeypatch.setattr(cli, "_SHIPPED", tmp_path)
    result = CliRunner().invoke(cli.app, ["--version"])
    assert result.exit_code == 0
    first, second = result.output.splitlines()
    assert first == f"unmorph {unmorph.__version__}"
    # FIPS 180-2, appendix B.1: the SHA-256 of "abc".
    assert second.split() == [
        "some.onnx",
        "sha256",
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
    ]


def test_every_command_module_is_a_command() -> None:
    result = CliRunner().invoke(cli.app, ["--help"])
    modules = [m.name for m in pkgutil.iter_modules(cli.__path__) if not m.name.startswith("_")]
    assert "protect" in modules
    for name in modules:
        assert CliRunner().invoke(cli.app, [name.replace("_", "-"), "--help"]).exit_code == 0
        assert name.replace("_", "-") in result.output


def test_missing_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        require_torch()
    assert str(caught.value) == 'This command needs torch: pip install "unmorph[train]"'


def test_installed_extra() -> None:
    require_torch()


def test_names_that_are_no_text_of_the_terminal(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.jpg")).touch()
    code = "from unmorph.cli import main; main()"
    for encoding, shown in (
        ("utf-8:strict", rb"caf\udce9.jpg"),
        ("utf-8:surrogateescape", b"\xe9"),
    ):
        done = subprocess.run(
            [sys.executable, "-c", code, "protect", str(tmp_path), "--dry-run"],
            env={**os.environ, "PYTHONIOENCODING": encoding},
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert shown in done.stdout
