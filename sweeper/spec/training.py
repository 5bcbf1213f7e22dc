"""The `train:` and `augment:` sections: how one trial fine-tunes."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from sweeper.spec.long_tail import LongTailSettings
from sweeper.spec.model import Section

_RAND_AUGMENT = re.compile(r"rand-m(\d+)(?:-n(\d+))?")


class RandAugmentPolicy(Section):
    """The numbers inside a policy name such as `rand-m9-n2`."""

    magnitude: int
    num_ops: int


def parse_rand_augment(policy: str) -> RandAugmentPolicy | None:
    """Returns the numbers of a `rand-m<0-10>[-n<1-4>]` policy name, None for any other name."""
    match = _RAND_AUGMENT.fullmatch(policy)
    if match is None:
        return None
    return RandAugmentPolicy(magnitude=int(match[1]), num_ops=int(match[2] or 2))


def _known_policy(policy: str) -> str:
    if policy in ("none", "3a", "trivial"):
        return policy
    rand = parse_rand_augment(policy)
    if rand is not None and rand.magnitude <= 10 and 1 <= rand.num_ops <= 4:
        return policy
    raise ValueError("must be `none`, `3a`, `trivial` or `rand-m<0-10>[-n<1-4>]`")


class ProbeSpec(Section):
    """A linear probe before fine-tuning (LP-FT, Kumar et al. 2022): the head alone learns first."""

    epochs: int = Field(default=0, ge=0)
    """How many of the trial's first epochs train the head alone; 0 turns it off."""
    lr: float | None = Field(default=None, gt=0.0)
    """Peak learning rate of these epochs; null takes `lr` times `head_lr_scale`."""


class FixresSpec(Section):
    """Tuning at the higher resolution of the test (FixRes, Touvron et al. 2019): classifier and last norm alone."""

    epochs: int = Field(default=0, ge=0)
    """How many of the trial's last epochs do this; 0 turns it off."""
    image_size: int | None = Field(default=None, ge=16, le=1024)
    """Side of the square image in these epochs, in pixels; null takes 9/7 of `data.image_size` (288 for 224)."""
    lr: float | None = Field(default=None, gt=0.0)
    """Peak learning rate of these epochs; null takes a tenth of `lr` times `head_lr_scale`."""


class ProgressiveSpec(Section):
    """Progressive resizing (Tan and Le 2021, EfficientNetV2): small images first, which cost less."""

    epochs: int = Field(default=0, ge=0)
    """How many of the trial's first epochs train on smaller images; 0 turns it off."""
    image_size: int = Field(default=128, ge=16, le=1024)
    """Side of the images in the first epoch, in pixels; it grows to `data.image_size` in steps of 32."""


class TrainSpec(LongTailSettings):
    """How a trial trains. Every field here can be searched by its bare name, as in `space: {lr: ...}`."""

    epochs: int = Field(default=10, ge=1)
    """Passes over the training split, those of `probe` and `fixres` included."""
    batch_size: int = Field(default=64, ge=1)
    """Images in one forward and backward pass."""
    accumulate: int = Field(default=1, ge=1)
    """Passes whose gradients are added up before one optimiser step; the effective batch is the product."""
    optimizer: str = "adamw"
    """Any optimiser timm knows by name: adamw, sgd, lion, lamb, ..."""
    lr: float = Field(default=3e-4, gt=0.0)
    """Peak learning rate of the last stage."""
    head_lr_scale: float = Field(default=1.0, gt=0.0)
    """The classifier's learning rate over `lr`; a new head often wants 3 to 20."""
    layer_decay: float = Field(default=1.0, gt=0.0, le=1.0)
    """Learning rate of a stage over that of the stage after it; 1 trains all stages alike."""
    freeze_depth: int = Field(default=0, ge=0)
    """Stages kept as they are, counted from the input: 0 none, 1 the stem, ..., one less than all a linear probe."""
    tune: Literal["all", "norm_bias", "lora"] = "all"
    """What trains of the stages that are not frozen: `all`, norms and biases (BitFit), or `lora`. Of the head: all."""
    lora_rank: int = Field(default=8, ge=1)
    """Rank of the updates of `tune: lora`."""
    lora_alpha: float = Field(default=16.0, gt=0.0)
    """The updates of `tune: lora` are multiplied by this over the rank."""
    probe: ProbeSpec = ProbeSpec()
    """A linear probe before fine-tuning."""
    fixres: FixresSpec = FixresSpec()
    """Classifier and last norm tuned at a higher resolution after it."""
    progressive: ProgressiveSpec = ProgressiveSpec()
    """Smaller training images in the first epochs."""
    cache_features: int = Field(default=0, ge=0)
    """Augmented views of each image whose outputs of the frozen stages are computed once and kept; 0 keeps none."""
    teacher: str | None = None
    """Distil from this model: the folder of a finished trial, of an exported model, or of an ensemble."""
    teacher_weight: float = Field(default=0.5, gt=0.0, le=1.0)
    """Share of the teacher's part in the loss; the labels have the rest."""
    teacher_temperature: float = Field(default=2.0, gt=0.0)
    """Both sides' logits are divided by it where they are compared."""
    weight_decay: float = Field(default=0.05, ge=0.0)
    """Decoupled weight decay; biases, norms and what the model lists are left out."""
    warmup_epochs: float = Field(default=1.0, ge=0.0)
    """Epochs of linear warm-up, counted in steps; fractions are allowed."""
    min_lr: float = Field(default=1e-6, ge=0.0)
    """Where the cosine ends, for a group whose scale is 1."""
    label_smoothing: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Probability mass spread evenly over all classes."""
    clip_grad: float | None = Field(default=1.0, gt=0.0)
    """Largest norm of the whole gradient; null does not clip."""
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Stochastic depth: the rate of the last block; earlier blocks have proportionally less."""
    ema_decay: float | None = Field(default=None, gt=0.0, lt=1.0)
    """Average the weights with this decay a step and evaluate the average; null does not."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """`auto` is bf16 where a GPU has it and fp32 elsewhere (bf16 is slower than fp32 on most CPUs)."""
    channels_last: bool = True
    """Keep images channels-last in memory: faster for convolutions, equal for the rest."""


class AugmentSpec(Section):
    """How training images are varied. Searched as `augment.policy`, `augment.mixup`, ..."""

    policy: Annotated[str, AfterValidator(_known_policy)] = "none"
    """`none`, `3a` (3-Augment), `trivial` (TrivialAugment wide) or `rand-m9[-n2]` (RandAugment)."""
    min_scale: float = Field(default=0.35, gt=0.0, le=1.0)
    """Smallest share of the area that a random resized crop may take."""
    hflip: float = Field(default=0.5, ge=0.0, le=1.0)
    """Probability of a left-right flip; set 0 where left and right differ, as in digits."""
    vflip: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability of an up-down flip."""
    color_jitter: float = Field(default=0.0, ge=0.0, le=1.0)
    """Largest relative change of brightness, contrast and saturation."""
    erase: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability of erasing a random rectangle."""
    mixup: float = Field(default=0.0, ge=0.0)
    """Beta parameter of mixup; 0 turns it off."""
    cutmix: float = Field(default=0.0, ge=0.0)
    """Beta parameter of cutmix; 0 turns it off. With mixup on as well, each batch takes one of the two."""
    mix_prob: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of batches that are mixed, where mixup or cutmix is on."""
    hide_metadata: float = Field(default=0.0, ge=0.0, le=1.0)
    """Probability that place and date of an image are hidden in the first epoch; falls linearly to 0 in the last."""
    batched: bool | None = None
    """Augment whole batches on the device, not each image with OpenCV; null does so on a GPU, where it is faster."""
