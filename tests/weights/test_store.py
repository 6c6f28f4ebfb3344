from __future__ import annotations

import hashlib
import io
import os
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from unmorph.cli import app
from unmorph.errors import ConfigError, MissingExtraError, WeightsError
from unmorph.weights import catalog, convert, entry, locate, names, store
from unmorph.weights.catalog import WeightsEntry

GENERATOR = b"a generator's checkpoint"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no mirror, and no network."""
    folder = tmp_path / "cache"
    monkeypatch.setattr(store, "cache_folder", lambda: folder)
    monkeypatch.delenv(store.MIRROR_VARIABLE, raising=False)

    def refuse(*_: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", refuse)
    return folder


@pytest.fixture
def stargan(monkeypatch: pytest.MonkeyPatch) -> WeightsEntry:
    """The catalog's StarGAN with the hash of `GENERATOR` in place of the publisher's."""
    item = replace(entry("stargan-celeba-128"), sha256=hashlib.sha256(GENERATOR).hexdigest())
    monkeypatch.setitem(catalog._CATALOG, item.name, item)
    return item


def publisher_zip(path: Path, content: bytes = GENERATOR) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("celeba/200000-D.ckpt", b"a discriminator")
        archive.writestr("celeba/200000-G.ckpt", content)
    return path


@pytest.mark.parametrize("name", names())
def test_every_entry_is_complete(name: str) -> None:
    item = entry(name)
    assert len(bytes.fromhex(item.sha256)) == 32
    assert item.filename
    assert item.licence
    assert item.preprocessing
    assert item.url is None or item.url.startswith("https://")


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="'vgg19'; choose one of stargan-celeba-128, "):
        locate("vgg19")


def test_mirror_comes_first(cache: Path, tmp_path: Path, stargan: WeightsEntry) -> None:
    (tmp_path / stargan.filename).write_bytes(GENERATOR)
    assert locate(stargan.name, tmp_path) == tmp_path / stargan.filename
    assert not cache.exists()


def test_environment_names_the_mirror(
    cache: Path, tmp_path: Path, stargan: WeightsEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / stargan.filename).write_bytes(GENERATOR)
    monkeypatch.setenv(store.MIRROR_VARIABLE, str(tmp_path))
    assert locate(stargan.name) == tmp_path / stargan.filename


def test_publishers_zip_in_the_mirror_is_unpacked_into_the_cache(
    cache: Path, tmp_path: Path, stargan: WeightsEntry
) -> None:
    publisher_zip(tmp_path / "celeba-128x128-5attrs.zip")
    assert locate(stargan.name, tmp_path) == cache / stargan.filename
    assert locate(stargan.name).read_bytes() == GENERATOR


def test_download_is_unpacked_into_the_cache(
    cache: Path, stargan: WeightsEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def serve(_: object, url: str, output: str, __: object) -> None:
        asked.append(url)
        publisher_zip(Path(output))

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", serve)
    assert locate(stargan.name).read_bytes() == GENERATOR
    assert locate(stargan.name) == cache / stargan.filename
    assert asked == [stargan.url]
    assert [path.name for path in cache.iterdir()] == [stargan.filename]


def test_a_terminal_sees_the_download(
    cache: Path, stargan: WeightsEntry, terminal: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    def serve(downloader: Any, _: str, output: str, __: object) -> None:
        bar = downloader.progressbar
        bar.total = 2_000_000
        for _piece in range(3):  # the last piece is a part of one
            bar.update(1_000_000)
        bar.reset()
        bar.update(bar.total)
        bar.close()
        publisher_zip(Path(output))

    monkeypatch.setattr("pooch.HTTPDownloader.__call__", serve)
    monkeypatch.setattr(sys, "stderr", terminal)
    locate(stargan.name)
    assert stargan.filename in terminal.getvalue()
    assert "2.0/2.0 MB" in terminal.getvalue()


@pytest.mark.parametrize(("name", "module"), [("alexnet", "torch"), ("vgg16", "h5py")])
def test_what_could_not_be_unpacked_is_not_fetched(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setattr(convert, "find_spec", lambda wanted: None if wanted == module else wanted)
    with pytest.raises(MissingExtraError, match=f"needs {module}: pip install"):
        locate(name)


def test_wrong_hash_is_refused_with_both_hashes(
    cache: Path, tmp_path: Path, stargan: WeightsEntry
) -> None:
    path = tmp_path / stargan.filename
    path.write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(WeightsError) as caught:
        locate(stargan.name, tmp_path)
    assert str(path) in str(caught.value)
    assert f"expected sha256 {stargan.sha256}, found {found}" in str(caught.value)
    assert "remove the file" in str(caught.value)


def test_changed_download_leaves_nothing_behind(
    cache: Path, tmp_path: Path, stargan: WeightsEntry
) -> None:
    publisher_zip(tmp_path / "celeba-128x128-5attrs.zip", content=b"another network")
    with pytest.raises(WeightsError, match="publisher's file has changed"):
        locate(stargan.name, tmp_path)
    assert not list(cache.rglob("*"))


def test_download_of_the_wrong_kind_is_refused(
    cache: Path, tmp_path: Path, stargan: WeightsEntry
) -> None:
    (tmp_path / "celeba-128x128-5attrs.zip").write_text("<html>sign in</html>")
    with pytest.raises(WeightsError, match="not the official download"):
        locate(stargan.name, tmp_path)


def test_an_empty_download_is_refused(cache: Path, tmp_path: Path) -> None:
    (tmp_path / str(entry("alexnet").download_name)).touch()
    with pytest.raises(WeightsError, match="not the official download of 'alexnet'"):
        locate("alexnet", tmp_path)


def test_no_network_names_the_remedy(cache: Path, stargan: WeightsEntry) -> None:
    with pytest.raises(WeightsError, match=r"--from .* holds stargan-celeba-128-200000-G.ckpt or "):
        locate(stargan.name)


def test_entry_without_a_source_asks_for_a_mirror(cache: Path) -> None:
    with pytest.raises(WeightsError, match="no official download; give --from"):
        locate("fast-aginggan")


def test_missing_mirror_folder_is_named(cache: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="nowhere: no such folder"):
        locate("vgg16", tmp_path / "nowhere")


def test_commands_fetch_and_verify(cache: Path, tmp_path: Path, stargan: WeightsEntry) -> None:
    mirror = tmp_path / "mirror"
    publisher_zip(mirror / "celeba-128x128-5attrs.zip")
    run = CliRunner()
    fetched = run.invoke(app, ["weights", "fetch", stargan.name, "--from", str(mirror)])
    assert (fetched.exit_code, fetched.output.strip()) == (0, str(cache / stargan.filename))
    verified = run.invoke(app, ["weights", "verify"])
    assert verified.exit_code == 0
    assert f"good     {stargan.name}" in verified.output
    (cache / stargan.filename).write_bytes(b"damaged")
    damaged = run.invoke(app, ["weights", "verify"])
    assert damaged.exit_code == 1
    assert "refused" in damaged.output


def test_command_list_names_every_entry() -> None:
    output = CliRunner().invoke(app, ["weights", "list"], env={"COLUMNS": "200"}).output
    assert all(name in output for name in names())


@pytest.mark.skipif("UNMORPH_WEIGHTS_FROM" not in os.environ, reason="UNMORPH_WEIGHTS_FROM unset")
@pytest.mark.parametrize("name", ["vgg16", "alexnet", "lpips-alex", "fast-aginggan", "yunet"])
def test_mirror_holds_the_catalogs_bytes(name: str) -> None:
    assert locate(name, os.environ["UNMORPH_WEIGHTS_FROM"]).is_file()
