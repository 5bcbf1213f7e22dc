"""Augmentation policies: which operations with which magnitudes, as published."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, final

import numpy as np

from sweeper.data import ops
from sweeper.data.manifest import Pixels
from sweeper.spec.training import parse_rand_augment


@final
@dataclass(frozen=True)
class Change:
    """One operation with the argument that was drawn for it."""

    op: Callable[..., Pixels]
    """Of `ops`; by it the batched path finds its own form of the operation."""
    value: float | None = None
    """None for an operation without an argument."""

    def __call__(self, image: Pixels) -> Pixels:
        """Returns the changed image."""
        return self.op(image) if self.value is None else self.op(image, self.value)


class Policy(ABC):
    """Changes one image at random; a pure function of the image and the generator's state."""

    @abstractmethod
    def draw(self, rng: np.random.Generator) -> tuple[Change, ...]:
        """Draws what is done to one image, in order."""

    def __call__(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """Returns the changed image, of the same shape; the given one is left as it was."""
        for change in self.draw(rng):
            image = change(image)
        return image


@final
class NoPolicy(Policy):
    """Changes nothing."""

    def draw(self, rng: np.random.Generator) -> tuple[Change, ...]:
        """Draws nothing."""
        return ()


@final
@dataclass(frozen=True)
class Step:
    """One operation, with the values its argument is drawn from."""

    op: Callable[..., Pixels]
    values: tuple[float, ...] = ()
    """Each as likely as the others; none for an operation without an argument."""
    signed: bool = False
    """Whether a drawn value is negated half of the time."""
    offset: float = 0.0
    """Added to the drawn value after the sign: 1 for the factors that leave an image as it is at 1."""

    def draw(self, rng: np.random.Generator) -> Change:
        """Draws the argument."""
        if not self.values:
            return Change(self.op)
        value = self.values[int(rng.integers(len(self.values)))] if len(self.values) > 1 else self.values[0]
        if self.signed and rng.random() < 0.5:
            value = -value
        return Change(self.op, self.offset + value)


@final
@dataclass(frozen=True)
class RandAugment(Policy):
    """RandAugment (Cubuk et al. 2019): `num_ops` operations, drawn with replacement, each applied half of the time.

    Operations, ranges and the probability are those of timm's `rand-mM-nN-inc1`, where every operation grows
    stronger with the magnitude. One bit is always kept in posterizing: at magnitude 10 timm's image is black.
    """

    steps: tuple[Step, ...]
    num_ops: int

    @classmethod
    def of(cls, *, magnitude: int, num_ops: int, image_size: int) -> RandAugment:
        """Returns the policy of `magnitude`, 0 to 10, for images of `image_size` pixels."""
        level = magnitude / 10
        enhance, shear, shift = (0.9 * level,), (0.3 * level,), (0.45 * level * image_size,)
        steps = (
            Step(ops.autocontrast),
            Step(ops.equalize),
            Step(ops.invert),
            Step(ops.rotate, (30.0 * level,), signed=True),
            Step(ops.posterize, (max(1, 4 - int(4 * level)),)),
            Step(ops.solarize, (256 - int(256 * level),)),
            Step(ops.solarize_add, (int(110 * level),)),
            Step(ops.saturation, enhance, signed=True, offset=1.0),
            Step(ops.contrast, enhance, signed=True, offset=1.0),
            Step(ops.brightness, enhance, signed=True, offset=1.0),
            Step(ops.sharpness, enhance, signed=True, offset=1.0),
            Step(ops.shear_x, shear, signed=True),
            Step(ops.shear_y, shear, signed=True),
            Step(ops.translate_x, shift, signed=True),
            Step(ops.translate_y, shift, signed=True),
        )
        return cls(steps, num_ops)

    def draw(self, rng: np.random.Generator) -> tuple[Change, ...]:
        """Draws the operations."""
        choices = rng.integers(len(self.steps), size=self.num_ops)
        return tuple(self.steps[choice].draw(rng) for choice in choices if rng.random() < 0.5)


def _evenly(last: float) -> tuple[float, ...]:
    """Returns TrivialAugment's 31 strengths from 0 to `last`."""
    return tuple(np.linspace(0.0, last, 31).tolist())


_TRIVIAL_WIDE: Final = (
    Step(np.copy),
    Step(ops.shear_x, _evenly(0.99), signed=True),
    Step(ops.shear_y, _evenly(0.99), signed=True),
    Step(ops.translate_x, _evenly(32.0), signed=True),
    Step(ops.translate_y, _evenly(32.0), signed=True),
    Step(ops.rotate, _evenly(135.0), signed=True),
    Step(ops.brightness, _evenly(0.99), signed=True, offset=1.0),
    Step(ops.saturation, _evenly(0.99), signed=True, offset=1.0),
    Step(ops.contrast, _evenly(0.99), signed=True, offset=1.0),
    Step(ops.sharpness, _evenly(0.99), signed=True, offset=1.0),
    Step(ops.posterize, tuple((8 - np.round(np.arange(31) / 5)).tolist())),
    Step(ops.solarize, tuple(np.linspace(255.0, 0.0, 31).tolist())),
    Step(ops.autocontrast),
    Step(ops.equalize),
)


@final
class TrivialAugment(Policy):
    """TrivialAugment wide (Müller and Hutter 2021), torchvision's table: one operation, one strength."""

    def draw(self, rng: np.random.Generator) -> tuple[Change, ...]:
        """Draws the operation."""
        return (_TRIVIAL_WIDE[int(rng.integers(len(_TRIVIAL_WIDE)))].draw(rng),)


@final
class ThreeAugment(Policy):
    """3-Augment (Touvron et al. 2022, DeiT III): grey, solarized or blurred, each as likely as the others."""

    def draw(self, rng: np.random.Generator) -> tuple[Change, ...]:
        """Draws one of the three; the blur's sigma is uniform in [0.1, 2] pixels."""
        choice = int(rng.integers(3))
        if choice == 0:
            return (Change(ops.grayscale),)
        if choice == 1:
            return (Change(ops.solarize, 128),)
        return (Change(ops.gaussian_blur, rng.uniform(0.1, 2.0)),)


def policy_named(name: str, *, image_size: int) -> Policy:
    """Returns the policy that `augment.policy` names, for images of `image_size` pixels."""
    rand = parse_rand_augment(name)
    if rand is not None:
        return RandAugment.of(magnitude=rand.magnitude, num_ops=rand.num_ops, image_size=image_size)
    plain: dict[str, Policy] = {"none": NoPolicy(), "3a": ThreeAugment(), "trivial": TrivialAugment()}
    return plain[name]
