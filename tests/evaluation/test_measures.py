from __future__ import annotations

import pytest
import torch

from unmorph import metrics
from unmorph.errors import ConfigError
from unmorph.evaluation.measures import ALL, FAST, load_measures, parse_measures


def test_groups_and_names() -> None:
    assert parse_measures("all") == ALL
    assert parse_measures("fast") == FAST
    assert parse_measures("lbp, psnr") == ("l2", "psnr", "lbp")
    assert parse_measures("fast,lpips") == (*FAST, "lpips")


def test_unknown_name_lists_the_choices() -> None:
    with pytest.raises(ConfigError, match="'fid'; choose from fast, all, l2, "):
        parse_measures("fid")


@pytest.mark.parametrize("name", ["l2", "psnr", "ssim"])
def test_measure_equals_its_metric(name: str) -> None:
    first, second = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    measure = load_measures([name], torch.device("cpu"))[name]
    found = measure.compare(measure.prepare(first), measure.prepare(second))
    torch.testing.assert_close(found, getattr(metrics, name)(first, second))


def test_texture_is_compared_by_its_maps() -> None:
    first, second = torch.rand(2, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    measure = load_measures(["lbp"], torch.device("cpu"))["lbp"]
    found = measure.compare(measure.prepare(first), measure.prepare(second))
    changed = metrics.lbp_maps(first) != metrics.lbp_maps(second)
    assert found.tolist() == [pytest.approx(share.float().mean().item()) for share in changed]
    assert 0 < found.min() < 1
