from __future__ import annotations

import numpy as np
import pytest
import torch

from sweeper.data.mix import Mix, draw_mix
from sweeper.spec.training import AugmentSpec


def _draw(seed: int, **settings: float) -> Mix | None:
    spec = AugmentSpec.model_validate(settings)
    return draw_mix(spec, batch=8, image_size=32, rng=np.random.default_rng(seed))


def _draws(count: int, **settings: float) -> list[Mix]:
    return [mix for mix in (_draw(seed, **settings) for seed in range(count)) if mix is not None]


def test_nothing_is_mixed_where_both_are_off() -> None:
    assert _draws(50) == []


def test_the_share_of_mixed_batches_is_as_asked() -> None:
    assert 170 < len(_draws(400, mixup=0.2, mix_prob=0.5)) < 230
    assert len(_draws(100, mixup=0.2)) == 100


def test_with_both_on_each_is_taken_half_of_the_time() -> None:
    kinds = [mix.kind for mix in _draws(400, mixup=0.8, cutmix=1.0)]
    assert 160 < kinds.count("mixup") < 240
    assert kinds.count("mixup") + kinds.count("cutmix") == 400


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_draws_lam_from_the_beta_distribution(alpha: float) -> None:
    lams = np.array([mix.lam for mix in _draws(1500, mixup=alpha)])
    assert abs(lams.mean() - 0.5) < 0.05
    assert abs(lams.var() - 1 / (4 * (2 * alpha + 1))) < 0.015


def test_the_partners_are_a_permutation() -> None:
    for mix in _draws(20, mixup=1.0):
        assert sorted(mix.permutation.tolist()) == list(range(8))
        assert mix.permutation.dtype == torch.int64


def test_cutmix_sets_lam_to_the_share_that_really_stays() -> None:
    mixes = _draws(200, cutmix=1.0)
    for mix in mixes:
        top, bottom, left, right = mix.box
        assert 0 <= top <= bottom <= 32
        assert 0 <= left <= right <= 32
        assert mix.lam == 1 - (bottom - top) * (right - left) / 32**2
    assert any(mix.box[0] == 0 for mix in mixes)
    assert len({mix.box for mix in mixes}) > 150
