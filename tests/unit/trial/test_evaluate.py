from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, top_k_accuracy_score

from sweeper.trial.evaluate import Tally


def tally(logits: torch.Tensor, labels: torch.Tensor, *, batch: int) -> Tally:
    counted = Tally(logits.shape[1], device=torch.device("cpu"))
    for part, wanted in zip(torch.split(logits, batch), torch.split(labels, batch), strict=True):
        counted.add(part, wanted)
    return counted


@pytest.mark.parametrize("num_classes", [2, 3, 7, 40])
@pytest.mark.parametrize("seed", range(5))
def test_the_metrics_equal_those_of_scikit_learn(num_classes: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    # 60 images: with 40 classes some are absent from the labels, from the predictions, or from both.
    labels = torch.randint(0, num_classes, (60,), generator=generator)
    logits = torch.randn(60, num_classes, generator=generator)
    logits[torch.arange(60), labels] += 1.0
    scores = tally(logits, labels, batch=16).scores()

    truth, guess = labels.numpy(), logits.argmax(1).numpy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of predicted classes without labels, which are meant here
        balanced = balanced_accuracy_score(truth, guess)
    assert scores.top1 == pytest.approx(np.mean(truth == guess))
    assert scores.macro_f1 == pytest.approx(f1_score(truth, guess, average="macro"))
    assert scores.balanced_accuracy == pytest.approx(balanced)
    every = list(range(num_classes))
    shares = logits.double().softmax(1).numpy()
    assert scores.val_loss == pytest.approx(log_loss(truth, shares, labels=every), rel=1e-5)
    if num_classes > 5:
        assert scores.top5 == pytest.approx(top_k_accuracy_score(truth, shares, k=5, labels=every))
    else:
        assert scores.top5 == 1.0


def test_the_size_of_the_batches_does_not_matter() -> None:
    logits, labels = torch.randn(50, 9), torch.randint(0, 9, (50,))
    small, large = tally(logits, labels, batch=7).scores(), tally(logits, labels, batch=50).scores()
    assert small.val_loss == pytest.approx(large.val_loss)
    assert (small.top1, small.top5, small.macro_f1) == (large.top1, large.top5, large.macro_f1)


def test_rare_classes_weigh_as_much_as_common_ones() -> None:
    labels = torch.tensor([0] * 9 + [1])
    logits = torch.nn.functional.one_hot(torch.zeros(10, dtype=torch.int64), 2).float()
    scores = tally(logits, labels, batch=10).scores()
    assert scores.top1 == pytest.approx(0.9)
    assert scores.balanced_accuracy == pytest.approx(0.5)
    assert scores.macro_f1 == pytest.approx((2 * 9 / 19 + 0.0) / 2)
