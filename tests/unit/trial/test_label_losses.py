"""Each loss against the authors' formula, written out in float64 for one image after the other."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sweeper.errors import SpecError
from sweeper.spec.head import HeadSpec
from sweeper.spec.trial import TrialConfig
from sweeper.trial.class_counts import ClassCounts
from sweeper.trial.label_losses import LDAM, check_loss, label_loss

MakeConfig = Callable[..., TrialConfig]
COUNTS = [500, 40, 7, 1]
LABELS = torch.tensor([0, 1, 2, 3, 3, 0])
LOGITS = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2
MIXED = 0.7 * F.one_hot(LABELS, 4).double() + 0.3 * F.one_hot(LABELS.flip(0), 4).double()


def counts_for(config: TrialConfig) -> ClassCounts:
    return ClassCounts.of(np.repeat(np.arange(4), COUNTS), config, num_classes=4)


def value(config: TrialConfig, targets: Tensor = LABELS, *, epoch: int = 1) -> float:
    return float(label_loss(config, counts_for(config)).at(epoch)(LOGITS, targets))


def by_hand(loss: Callable[[list[float], int], float]) -> float:
    """Sums a loss of one image's logits and class."""
    return math.fsum(loss(row, label) for row, label in zip(LOGITS.tolist(), LABELS.tolist(), strict=True))


def softmax(z: list[float]) -> list[float]:
    total = math.fsum(math.exp(one) for one in z)
    return [math.exp(one) / total for one in z]


def test_balanced_softmax_weighs_each_class_by_its_images(make_config: MakeConfig) -> None:
    def loss(z: list[float], y: int) -> float:  # Ren et al. 2020, equation 4
        return -math.log(
            COUNTS[y] * math.exp(z[y]) / math.fsum(n * math.exp(one) for n, one in zip(COUNTS, z, strict=True))
        )

    assert value(make_config(train={"loss": "balanced_softmax"})) == pytest.approx(by_hand(loss), rel=1e-6)


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.5])
def test_logit_adjustment_adds_tau_times_the_log_share(tau: float, make_config: MakeConfig) -> None:
    def loss(z: list[float], y: int) -> float:  # Menon et al. 2021, equation 10, in its pairwise form
        pi = [n / sum(COUNTS) for n in COUNTS]
        return math.log(1 + math.fsum((pi[j] / pi[y]) ** tau * math.exp(z[j] - z[y]) for j in range(4) if j != y))

    config = make_config(train={"loss": "logit_adjustment", "loss_tau": tau})
    assert value(config) == pytest.approx(by_hand(loss), rel=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_loss_forgets_what_is_well_classified(gamma: float, make_config: MakeConfig) -> None:
    def loss(z: list[float], y: int) -> float:  # Lin et al. 2017, equation 4
        p = softmax(z)[y]
        return float(-((1 - p) ** gamma) * math.log(p))

    assert value(make_config(train={"loss": "focal", "loss_gamma": gamma})) == pytest.approx(by_hand(loss))


@pytest.mark.parametrize("beta", [0.0, 0.9, 0.9999])
def test_class_balanced_weights_are_the_inverse_effective_number(beta: float, make_config: MakeConfig) -> None:
    weights = [(1 - beta) / (1 - beta**n) for n in COUNTS]  # Cui et al. 2019, equation 2
    mean = math.fsum(n * w for n, w in zip(COUNTS, weights, strict=True)) / sum(COUNTS)
    expected = by_hand(lambda z, y: -weights[y] / mean * math.log(softmax(z)[y]))
    config = make_config(train={"loss": "class_balanced", "loss_beta": beta})
    assert value(config) == pytest.approx(expected, rel=1e-6)


def test_class_weights_average_to_one_over_the_training_images(make_config: MakeConfig) -> None:
    """So that a sum over images is, on average, torch's own weighted mean times their number."""
    config = make_config(train={"loss": "class_balanced"})
    every = torch.from_numpy(np.repeat(np.arange(4), COUNTS))
    logits = torch.randn(len(every), 4, dtype=torch.float64)
    weight = label_loss(config, counts_for(config)).weight.double()  # type: ignore[attr-defined]
    ours = label_loss(config, counts_for(config))(logits, every) / len(every)
    torch.testing.assert_close(ours, F.cross_entropy(logits, every, weight), rtol=1e-6, atol=0)


@pytest.mark.parametrize(("head", "scale"), [(HeadSpec(), 1.0), (HeadSpec(type="cosine", scale=30.0), 30.0)])
def test_ldam_lowers_the_right_logit_by_its_margin(head: HeadSpec, scale: float, make_config: MakeConfig) -> None:
    config = make_config(train={"loss": "ldam_drw"}, head=head)

    def loss(z: list[float], y: int) -> float:  # Cao et al. 2019, equations 10 and 13: the rarest class has 0.5
        margin = scale * 0.5 * (min(COUNTS) / COUNTS[y]) ** 0.25
        lowered = [one - margin if j == y else one for j, one in enumerate(z)]
        return -math.log(softmax(lowered)[y])

    assert value(config) == pytest.approx(by_hand(loss), rel=1e-6)


def test_ldam_weighs_classes_in_the_last_fifth_of_the_trial(make_config: MakeConfig) -> None:
    train = {"loss": "ldam_drw", "epochs": 10, "probe": {"epochs": 3}}
    config = make_config(train=train)
    values = [value(config, epoch=epoch) for epoch in range(1, 11)]
    assert len(set(values[:8])) == len(set(values[8:])) == 1
    weighted = F.cross_entropy(
        LOGITS - F.one_hot(LABELS, 4) * (0.5 * torch.tensor(COUNTS).double() ** -0.25),
        LABELS,
        label_loss(make_config(train={"loss": "class_balanced"}), counts_for(config)).weight.double(),  # type: ignore[attr-defined]
        reduction="sum",
    )
    assert values[0] != values[9] == pytest.approx(weighted.item(), rel=1e-6)
    loss = label_loss(config, counts_for(config))
    assert isinstance(loss.at(9), LDAM)
    assert float(loss.at(9).at(1)(LOGITS, LABELS)) == values[0]  # a trial may go back to an earlier state


def test_seesaw_spares_rare_classes_and_takes_it_back_for_mistakes(make_config: MakeConfig) -> None:
    def loss(z: list[float], y: int) -> float:  # Wang et al. 2021, equations 5 to 8
        p = softmax(z)
        total = math.exp(z[y])
        for j in range(4):
            if j != y:
                mitigation = 1.0 if COUNTS[y] <= COUNTS[j] else (COUNTS[j] / COUNTS[y]) ** 0.8
                compensation = 1.0 if p[j] <= p[y] else (p[j] / max(p[y], 0.01)) ** 2.0
                total += mitigation * compensation * math.exp(z[j])
        return -math.log(math.exp(z[y]) / total)

    assert value(make_config(train={"loss": "seesaw"})) == pytest.approx(by_hand(loss), rel=1e-6)


def test_seesaw_never_weighs_the_right_class(make_config: MakeConfig) -> None:
    """Where the right class has less than the smallest probability that is compared with, too."""
    config = make_config(train={"loss": "seesaw", "loss_mitigation": 0.0})
    far = torch.tensor([[0.0, 12.0, 0.0, 0.0]], dtype=torch.float64)
    p = far.softmax(1)[0]
    compensation = (p[1] / 0.01) ** 2
    expected = torch.log(1 + compensation * math.exp(12.0) + 2)  # the two others are as probable as the right one
    torch.testing.assert_close(label_loss(config, counts_for(config))(far, torch.tensor([0])), expected)


SOFT: list[dict[str, Any]] = [
    {"loss": "cross_entropy"},
    {"loss": "balanced_softmax"},
    {"loss": "logit_adjustment", "loss_tau": 1.3},
    {"loss": "focal", "loss_gamma": 0.5},
    {"loss": "focal"},
    {"loss": "class_balanced", "loss_beta": 0.99},
]
HARD: list[dict[str, Any]] = [{"loss": "ldam_drw"}, {"loss": "seesaw", "loss_compensation": 0.0}]


@pytest.mark.parametrize("train", [*SOFT, *HARD], ids=lambda train: train["loss"])
def test_the_gradients_are_those_of_the_loss(train: dict[str, Any], make_config: MakeConfig) -> None:
    config = make_config(train=train)
    loss = label_loss(config, counts_for(config)).at(99)
    for targets in [LABELS] if train in HARD else [LABELS, MIXED]:
        assert torch.autograd.gradcheck(lambda z, wanted=targets: loss(z, wanted), LOGITS.clone().requires_grad_())


@pytest.mark.parametrize("train", SOFT, ids=lambda train: train["loss"])
def test_mixed_labels_are_the_mixture_of_the_losses_of_each_label(
    train: dict[str, Any], make_config: MakeConfig
) -> None:
    config = make_config(train=train)
    expected = 0.7 * value(config) + 0.3 * value(config, LABELS.flip(0))
    assert value(config, MIXED) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("train", SOFT, ids=lambda train: train["loss"])
def test_smoothing_is_a_mixture_with_all_classes(train: dict[str, Any], make_config: MakeConfig) -> None:
    smoothed = value(make_config(train=train | {"label_smoothing": 0.2}))
    spread = 0.8 * F.one_hot(LABELS, 4).double() + 0.2 / 4
    assert smoothed == pytest.approx(value(make_config(train=train), spread), rel=1e-6)


def test_a_focal_loss_of_a_certain_image_has_a_finite_gradient(make_config: MakeConfig) -> None:
    config = make_config(train={"loss": "focal", "loss_gamma": 0.5})
    logits = torch.tensor([[200.0, 0.0, 0.0, 0.0]], requires_grad=True)
    label_loss(config, counts_for(config))(logits, torch.tensor([0])).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("loss", ["balanced_softmax", "logit_adjustment"])
def test_the_share_of_a_class_is_that_of_what_is_shown(loss: str, make_config: MakeConfig) -> None:
    """A sampler that shows all classes alike leaves nothing to adjust; one of square roots leaves half."""
    plain = value(make_config())
    assert value(make_config(train={"loss": loss, "sampler": "balanced"})) == pytest.approx(plain, rel=1e-6)
    halved = value(make_config(train={"loss": "logit_adjustment", "loss_tau": 0.5}))
    assert value(make_config(train={"loss": loss, "sampler": "sqrt"})) == pytest.approx(halved, rel=1e-6)


@pytest.mark.parametrize("loss", ["ldam_drw", "seesaw"])
@pytest.mark.parametrize(
    ("train", "augment"), [({"label_smoothing": 0.1}, {}), ({}, {"mixup": 0.2}), ({}, {"cutmix": 1.0})]
)
def test_a_loss_that_needs_one_label_refuses_more(
    loss: str, train: dict[str, float], augment: dict[str, float], make_config: MakeConfig
) -> None:
    message = (
        f"`loss: {loss}` needs one label an image; set `augment.mixup`, `augment.cutmix` and `label_smoothing` to 0, or "
        "give them a `when` on `loss`."
    )
    with pytest.raises(SpecError, match=f"^{re.escape(message)}$"):
        check_loss(make_config(train=train | {"loss": loss}, augment=augment))


def test_balanced_softmax_raises_balanced_accuracy_on_unbalanced_classes(make_config: MakeConfig) -> None:
    """Four clouds that overlap, 500 to 5 points each, told apart by a linear classifier; as many of each to judge."""
    generator = torch.Generator().manual_seed(0)
    centres = torch.tensor([[1.2, 0.0], [0.0, 1.2], [-1.2, 0.0], [0.0, -1.2]])
    sizes = [500, 100, 20, 5]
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor(sizes))
    points = centres[labels] + torch.randn(len(labels), 2, generator=generator)
    judged = torch.arange(4).repeat(500)
    validation = centres[judged] + torch.randn(len(judged), 2, generator=generator)
    balanced = {}
    for name in ("cross_entropy", "balanced_softmax"):
        config = make_config(train={"loss": name})
        loss = label_loss(config, ClassCounts.of(labels.numpy(), config, num_classes=4))
        model = torch.nn.Linear(2, 4)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            loss(model(points), labels).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        # The judged classes are of one size: accuracy is balanced accuracy.
        balanced[name] = float((model(validation).argmax(1) == judged).float().mean())
    assert balanced["balanced_softmax"] > balanced["cross_entropy"] + 0.1
