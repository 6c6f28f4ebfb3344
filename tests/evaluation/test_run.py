from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from unmorph.attributes import ATTRIBUTES, edit_targets
from unmorph.datasets.base import FaceDataset
from unmorph.errors import ConfigError, DataError
from unmorph.evaluation import environment
from unmorph.evaluation.record import Record, write_record
from unmorph.evaluation.run import (
    AlreadyMeasuredError,
    Labeller,
    Subject,
    evaluate,
    figures,
)
from unmorph.levels import to_faces

Build = Callable[..., Subject]
Defense = Callable[..., Tensor]
MakeTint = Callable[[], Any]


def run(subject: Subject, dataset: FaceDataset, **options: object) -> Record:
    chosen = {"metric_names": ("l2", "psnr"), "batch_size": 3, **options}
    return evaluate(subject, dataset, about_dataset={"name": "folder"}, **chosen)  # type: ignore[arg-type]


def all_faces(dataset: FaceDataset) -> Tensor:
    return torch.from_numpy(to_faces(np.stack(list(dataset.faces(dataset.crop)))))


def test_figures_by_hand(
    dataset: FaceDataset, subject: Build, tint: MakeTint, mark: Defense
) -> None:
    record = run(subject(), dataset)
    assert dataset.labels is not None
    faces, labels = all_faces(dataset), torch.from_numpy(dataset.labels)
    deepfake = tint()
    for edit in ATTRIBUTES:
        targets = edit_targets(labels, edit)
        expected = {
            "unprotected": (deepfake.edit(faces, targets) - faces),
            "output": (deepfake.edit(mark(faces), targets) - mark(faces)),
            "total": (deepfake.edit(mark(faces), targets) - faces),
        }
        for comparison, difference in expected.items():
            found = record.figures[comparison]["l2"].edits[edit]
            assert found.mean == pytest.approx(difference.square().mean().item(), rel=1e-4)
            assert found.count == 7
    shift = (mark(faces) - faces).square().mean().item()
    assert record.mean("input", "l2") == pytest.approx(shift, rel=1e-4)
    rebuilt = (deepfake.edit(faces, labels) - faces).square().mean().item()
    assert record.mean("own_labels", "l2") == pytest.approx(rebuilt, rel=1e-4)


def test_suppression_is_over_counted_pairs(dataset: FaceDataset, subject: Build) -> None:
    record = run(subject(), dataset)
    # `Tint` shrinks the shift of a marked face tenfold: s = 0.99 wherever it moves at all.
    assert record.mean("suppression", "s") == pytest.approx(0.99, abs=1e-3)
    assert record.mean("suppression", "strict_dsr") == 1
    counted = record.mean("suppression", "counted")
    assert counted is not None
    assert 0.5 <= counted < 1
    assert record.figures["suppression"]["s"].overall.count == round(counted * 35)


def test_the_fixed_threshold_counts_what_moves_by_a_hundredth() -> None:
    movement = np.array([[0.004, 0.02], [0.009, 0.01]], np.float32)
    residue = np.array([[0.0, 0.01], [0.009, 0.001]], np.float32)
    found = figures({"unprotected/l2": movement, "output/l2": residue}, ("Male", "Young"))
    fixed = found["suppression_fixed"]
    assert fixed["counted"].overall.mean == 0.5
    assert fixed["s"].overall.mean == pytest.approx((0.5 + 0.9) / 2)
    assert fixed["s"].edits["Male"].mean is None
    assert fixed["strict_dsr"].overall.mean == 0.5
    assert found["suppression"]["s"].overall.mean == pytest.approx((0.5 + 0 + 0.9) / 3)


def test_doing_nothing_suppresses_nothing(
    dataset: FaceDataset, subject: Build, tint: MakeTint
) -> None:
    deepfake = tint()
    record = run(subject(lambda faces, labels: faces.clone(), deepfake=deepfake), dataset)
    assert record.mean("suppression", "s") == 0
    assert record.mean("dsr", "protected") == record.mean("dsr", "unprotected")
    assert record.mean("input", "psnr") is None
    # Each edit once, and the own labels once, for each of three batches.
    assert deepfake.calls == 3 * 6


def test_defense_is_told_the_labels(dataset: FaceDataset, subject: Build) -> None:
    told: list[Tensor] = []

    def listen(faces: Tensor, labels: Tensor) -> Tensor:
        told.append(labels)
        return faces

    run(subject(listen), dataset)
    assert dataset.labels is not None
    assert torch.equal(torch.cat(told), torch.from_numpy(dataset.labels))


def test_judge_sees_untouched_edited_and_protected_faces(
    dataset: FaceDataset, subject: Build, tint: MakeTint, mark: Defense
) -> None:
    def judge(faces: Tensor) -> Tensor:
        bright = faces.mean(dim=(1, 2, 3)) - all_faces(dataset).mean()
        return bright[:, None].expand(-1, 5)

    record = run(subject(judge=judge), dataset)
    faces = all_faces(dataset)
    assert dataset.labels is not None
    targets = edit_targets(torch.from_numpy(dataset.labels), "Male")
    for state, seen in (
        ("untouched", faces),
        ("unprotected", tint().edit(faces, targets)),
        ("protected", tint().edit(mark(faces), targets)),
    ):
        expected = ((judge(seen)[:, 3] > 0) == (targets[:, 3] > 0)).float().mean().item()
        figure = record.figures["edit_success"][state]
        assert figure.edits["Male"].mean == pytest.approx(expected)
    agrees = (judge(faces) > 0) == (torch.from_numpy(dataset.labels) > 0)
    figure = record.figures["judge"]["agreement"]
    assert figure.edits["Blond_Hair"].mean == pytest.approx(agrees[:, 1].float().mean().item())


def test_labels_come_from_the_labeller_where_a_set_has_none(
    dataset: FaceDataset, subject: Build
) -> None:
    labels = dataset.labels
    assert labels is not None
    known = {
        photo.tobytes(): row for photo, row in zip(all_faces(dataset).numpy(), labels, strict=True)
    }

    def read(faces: Tensor) -> Tensor:
        return torch.from_numpy(np.stack([known[face.tobytes()] for face in faces.numpy()]))

    bare = FaceDataset("lfw", dataset.source, dataset.names, dataset.crop)
    labeller = Labeller(read, {"file": "x.onnx", "sha256": "1"})
    record = run(subject(), bare, labeller=labeller)
    assert record.figures == run(subject(), dataset).figures
    assert record.settings["labeller"] == labeller.about
    assert "labeller" not in run(subject(), dataset, labeller=labeller).settings
    with pytest.raises(ConfigError, match="no attribute labels"):
        run(subject(), bare)


def test_a_record_of_distortion_says_how_far_edits_moved(
    dataset: FaceDataset, subject: Build, tmp_path: Path
) -> None:
    path = tmp_path / "x.json"
    for mode, edits_are_missed in (("retain", False), ("distortion", True)):
        measured = subject()
        measured.about["defense"]["options"] = {"mode": mode}
        record = run(measured, dataset)
        write_record(record, path)
        with pytest.raises(AlreadyMeasuredError):
            run(measured, dataset, present=path)
        older = {name: found for name, found in record.figures.items() if name != "edits"}
        write_record(replace(record, figures=older), path)
        if edits_are_missed:
            assert run(measured, dataset, present=path).mean("edits", "l2") is not None
        else:
            with pytest.raises(AlreadyMeasuredError):
                run(measured, dataset, present=path)


def test_another_labeller_is_another_run(
    dataset: FaceDataset, subject: Build, tmp_path: Path
) -> None:
    bare = FaceDataset("lfw", dataset.source, dataset.names, dataset.crop)

    def labelled(sha256: str, **options: object) -> Record:
        labeller = Labeller(lambda faces: torch.ones(len(faces), 5), {"sha256": sha256})
        return run(subject(), bare, labeller=labeller, **options)

    path, progress = tmp_path / "x.json", tmp_path / "x.json.progress.npz"
    record = labelled("a", progress_file=progress)
    write_record(record, path)
    with pytest.raises(AlreadyMeasuredError):
        labelled("a", present=path)
    assert labelled("b", present=path) != record
    with pytest.raises(ConfigError, match="belongs to a run with other options"):
        labelled("b", progress_file=progress)


class StopError(Exception):
    """Ends a run in the middle."""


@pytest.mark.parametrize("stop_after", [3, 6])
def test_stopped_run_goes_on(
    dataset: FaceDataset, subject: Build, tint: MakeTint, tmp_path: Path, stop_after: int
) -> None:
    path = tmp_path / "x.json.progress.npz"

    def stop(done: int, total: int) -> None:
        if done == stop_after:
            raise StopError

    with pytest.raises(StopError):
        run(subject(), dataset, progress_file=path, on_progress=stop)
    rest = tint()
    resumed = run(subject(deepfake=rest), dataset, progress_file=path)
    assert resumed.figures == run(subject(), dataset).figures
    assert rest.calls == (3 - stop_after // 3) * 11


def test_progress_of_another_run_is_refused(
    dataset: FaceDataset, subject: Build, tmp_path: Path
) -> None:
    path = tmp_path / "x.json.progress.npz"
    run(subject(), dataset, progress_file=path)
    with pytest.raises(ConfigError, match="run with other options or other code; remove it"):
        run(subject(), dataset, progress_file=path, limit=2)
    with pytest.raises(ConfigError, match="other code"):
        run(replace(subject(), code="changed"), dataset, progress_file=path)
    path.write_bytes(b"half a file")
    with pytest.raises(ConfigError, match="damaged; remove it"):
        run(subject(), dataset, progress_file=path)


def test_limit_takes_the_first_faces(dataset: FaceDataset, subject: Build) -> None:
    limited = run(subject(), dataset, limit=4)
    assert limited.dataset["count"] == 4
    assert limited.figures == run(subject(), dataset.subset(range(4))).figures


def test_photos_that_cannot_be_read_are_found_before_anything_is_measured(
    dataset: FaceDataset, subject: Build, tmp_path: Path
) -> None:
    for index in (2, 5):
        (dataset.source.path / f"{index}.png").write_bytes(b"no photo")
    progress = tmp_path / "x.json.progress.npz"
    refused = r"2 of its photos cannot be read: 2\.png, 5\.png; .* --skip-unreadable"
    with pytest.raises(DataError, match=refused):
        run(subject(), dataset, progress_file=progress)
    assert not progress.exists()
    assert run(subject(), dataset, limit=2).dataset["count"] == 2
    readable = dataset.without(dataset.unreadable())
    assert run(subject(), readable).dataset["count"] == 5
    assert readable.labels is not None
    assert len(readable.labels) == 5


def test_a_limit_counts_readable_photos(dataset: FaceDataset) -> None:
    (dataset.source.path / "1.png").write_bytes(b"no photo")
    (dataset.source.path / "6.png").write_bytes(b"no photo")
    assert dataset.unreadable() == ["1.png", "6.png"]
    assert dataset.unreadable(5) == ["1.png"]
    assert dataset.unreadable(1) == []


def test_a_record_names_every_commit_that_took_part(
    dataset: FaceDataset, subject: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.json.progress.npz"

    def stop(done: int, total: int) -> None:
        raise StopError

    for commit in ("a", "b", "a"):
        monkeypatch.setattr(environment, "commit", lambda commit=commit: commit)
        with pytest.raises(StopError):
            run(subject(), dataset, progress_file=path, on_progress=stop)
    assert run(subject(), dataset, progress_file=path).commit == "a, b"

    def commits_meanwhile(done: int, total: int) -> None:
        monkeypatch.setattr(environment, "commit", lambda: "later")

    assert run(subject(), dataset, on_progress=commits_meanwhile).commit == "a"


def test_a_compiled_run_goes_on_from_no_other(
    dataset: FaceDataset, subject: Build, tmp_path: Path
) -> None:
    path = tmp_path / "x.json.progress.npz"
    run(subject(), dataset, progress_file=path)
    compiled = replace(subject(), compiled=True)
    with pytest.raises(ConfigError, match="belongs to a run with other options"):
        run(compiled, dataset, progress_file=path)
    assert run(compiled, dataset).machine["compiled"] is True


def test_how_far_the_edit_is_driven(
    dataset: FaceDataset, subject: Build, tint: MakeTint, mark: Defense
) -> None:
    t = torch.full((1, 3, dataset.crop, dataset.crop), 0.5)
    targeted = replace(subject(), picture=lambda faces: t.expand_as(faces))
    record = run(targeted, dataset)
    assert dataset.labels is not None
    faces, labels = all_faces(dataset), torch.from_numpy(dataset.labels)
    expected = {"edits": 0.0, "picture": 0.0, "picture_unprotected": 0.0}
    for edit in ATTRIBUTES:
        request = edit_targets(labels, edit)
        before, after = tint().edit(faces, request), tint().edit(mark(faces), request)
        expected["edits"] += float((before - after).square().mean()) / 5
        expected["picture"] += float((t - after).square().mean()) / 5
        expected["picture_unprotected"] += float((t - before).square().mean()) / 5
    assert {name: record.mean(name, "l2") for name in expected} == pytest.approx(expected)
    assert run(subject(), dataset).mean("picture", "l2") is None
