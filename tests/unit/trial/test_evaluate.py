from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, recall_score, top_k_accuracy_score

from sweeper.paths import TrialPaths
from sweeper.spec.trial import TrialConfig
from sweeper.trial.class_counts import ClassCounts
from sweeper.trial.evaluate import Tally, averaged
from sweeper.trial.run import run_trial
from sweeper.trial.runtime import Runtime


def counts(*images: int) -> ClassCounts:
    """Classes with so many training images: head above 100, tail below 20."""
    sizes = torch.tensor(images, dtype=torch.float64)
    return ClassCounts(
        sizes, sizes / sizes.sum(), torch.stack([sizes > 100, (sizes >= 20) & (sizes <= 100), sizes < 20])
    )


def tally(logits: torch.Tensor, labels: torch.Tensor, *, batch: int, of: ClassCounts | None = None) -> Tally:
    counted = Tally(of or counts(*[1] * logits.shape[1]))
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


def unbalanced() -> tuple[torch.Tensor, torch.Tensor, ClassCounts]:
    """Logits that lean to frequent classes, as training on unbalanced classes makes them."""
    generator = torch.Generator().manual_seed(0)
    sizes = counts(400, 150, 60, 30, 8, 2)
    labels = torch.multinomial(sizes.shares.float(), 600, replacement=True, generator=generator)
    logits = torch.randn(600, 6, generator=generator)
    logits[torch.arange(600), labels] += 1.5
    return logits + sizes.shares.log().float(), labels, sizes


def test_recall_is_averaged_over_the_classes_of_a_group() -> None:
    logits, labels, sizes = unbalanced()
    scores = tally(logits, labels, batch=64, of=sizes).scores()
    recall = recall_score(labels, logits.argmax(1), average=None)
    assert scores.recall_head == pytest.approx(recall[:2].mean())
    assert scores.recall_middle == pytest.approx(recall[2:4].mean())
    assert scores.recall_tail == pytest.approx(recall[4:].mean())


def test_a_group_without_validation_images_has_no_recall() -> None:
    logits, labels, sizes = unbalanced()
    frequent = labels < 2
    scores = tally(logits[frequent], labels[frequent], batch=64, of=sizes).scores()
    assert scores.recall_head is not None
    assert (scores.recall_middle, scores.recall_tail) == (None, None)


def test_the_adjustment_is_the_smallest_tau_of_the_best_balanced_accuracy() -> None:
    logits, labels, sizes = unbalanced()
    scores = tally(logits, labels, batch=64, of=sizes).scores()
    guesses = {tau / 10: (logits - tau / 10 * sizes.shares.log().float()).argmax(1) for tau in range(21)}
    balanced = {tau: balanced_accuracy_score(labels, guess) for tau, guess in guesses.items()}
    best = max(balanced.values())
    assert scores.balanced_accuracy_adjusted == pytest.approx(best)
    assert scores.tau == min(tau for tau, value in balanced.items() if value == pytest.approx(best))
    assert scores.top1_adjusted == pytest.approx(float((guesses[scores.tau] == labels).float().mean()))
    assert scores.tau > 0.4
    assert scores.balanced_accuracy_adjusted > scores.balanced_accuracy + 0.05


def test_nothing_is_adjusted_where_classes_are_alike() -> None:
    logits, labels, _ = unbalanced()
    scores = tally(logits, labels, batch=64, of=counts(*[50] * 6)).scores()
    assert scores.tau == 0.0
    assert (scores.top1_adjusted, scores.balanced_accuracy_adjusted) == (scores.top1, scores.balanced_accuracy)


def test_the_views_of_an_image_are_averaged_as_probabilities() -> None:
    logits = torch.randn(6, 4, generator=torch.Generator().manual_seed(0)) * 3
    expected = torch.stack([logits[2 * row : 2 * row + 2].softmax(1).mean(0) for row in range(3)])
    torch.testing.assert_close(averaged(logits, views=2).softmax(1), expected)
    torch.testing.assert_close(averaged(logits, views=2).exp(), expected)  # normalised: a loss can be taken of them
    assert averaged(logits, views=1) is logits


def test_an_evaluation_that_runs_out_of_memory_goes_on_with_fewer_images_at_once(
    make_config: Callable[..., TrialConfig], runtime: Runtime, tmp_path: Path
) -> None:
    config, sizes = make_config(train={"epochs": 1}), list[int]()

    def refuse_more_than_five(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if type(module).__name__ == "EfficientNet" and not module.training:
            sizes.append(len(inputs[0]))
            if sizes[-1] > 5:
                raise torch.OutOfMemoryError(f"{sizes[-1]} images")

    (roomy,) = run_trial(config, TrialPaths(tmp_path / "roomy"), runtime=runtime)
    hook = torch.nn.modules.module.register_module_forward_pre_hook(refuse_more_than_five)
    try:
        (tight,) = run_trial(config, TrialPaths(tmp_path / "tight"), runtime=runtime)
    finally:
        hook.remove()
    assert max(sizes) > 5
    assert sum(size for size in sizes if 1 < size <= 5) == 40  # each image once; single ones time the latency
    assert (tight.top1, tight.micro_batch) == (roomy.top1, roomy.micro_batch)  # the training is as it was
    assert tight.val_loss == pytest.approx(roomy.val_loss, rel=1e-3)
