"""What a step makes smaller, against formulas written out."""

from __future__ import annotations

from typing import cast

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sweeper.data import DeviceBatch
from sweeper.trial.label_losses import CrossEntropy
from sweeper.trial.loss import Criterion
from sweeper.trial.teacher import Teacher

LABELS = torch.tensor([0, 2, 1])
LOGITS = torch.tensor([[2.0, -1.0, 0.5], [0.0, 1.0, 3.0], [-1.0, 0.5, 0.0]])
TAUGHT = torch.tensor([[3.0, 0.0, 0.0], [0.0, 2.0, 1.0], [0.0, 4.0, -1.0]])


def batch(targets: Tensor = LABELS) -> DeviceBatch:
    return DeviceBatch((torch.zeros(3, 3, 4, 4),), targets)


def taught_by(logits: Tensor) -> Teacher:
    return cast(Teacher, lambda _: logits)


def test_without_a_teacher_it_is_cross_entropy_summed_over_images() -> None:
    expected = -LOGITS.log_softmax(1)[torch.arange(3), LABELS].sum()
    torch.testing.assert_close(Criterion()(LOGITS, batch()), expected)


def test_labels_can_be_smoothed_and_mixed() -> None:
    shares = 0.3 * F.one_hot(LABELS, 3).float() + 0.7 * F.one_hot(LABELS.flip(0), 3).float()
    smoothed = 0.9 * shares + 0.1 / 3
    expected = -(smoothed * LOGITS.log_softmax(1)).sum()
    torch.testing.assert_close(Criterion(CrossEntropy(label_smoothing=0.1))(LOGITS, batch(shares)), expected)


@pytest.mark.parametrize("temperature", [1.0, 4.0])
@pytest.mark.parametrize("weight", [0.3, 1.0])
def test_a_teachers_part_is_the_divergence_at_the_temperature(temperature: float, weight: float) -> None:
    criterion = Criterion(teacher=taught_by(TAUGHT), weight=weight, temperature=temperature)
    student, teacher = ((logits / temperature).softmax(1) for logits in (LOGITS, TAUGHT))
    divergence = (teacher * (teacher.log() - student.log())).sum() * temperature**2
    expected = (1 - weight) * Criterion()(LOGITS, batch()) + weight * divergence
    torch.testing.assert_close(criterion(LOGITS, batch()), expected)


def test_a_student_that_agrees_has_nothing_to_learn_from_its_teacher() -> None:
    criterion = Criterion(teacher=taught_by(LOGITS + 5.0), weight=1.0)  # a constant changes no probability
    assert criterion(LOGITS, batch()).item() == pytest.approx(0.0, abs=1e-5)


def test_the_size_of_the_gradient_hardly_depends_on_the_temperature() -> None:
    sizes = []
    for temperature in (10.0, 100.0):
        logits = LOGITS.clone().requires_grad_()
        criterion = Criterion(teacher=taught_by(TAUGHT), weight=1.0, temperature=temperature)
        (gradient,) = torch.autograd.grad(criterion(logits, batch()), [logits])
        sizes.append(gradient.norm().item())
    assert sizes[0] == pytest.approx(sizes[1], rel=0.1)
