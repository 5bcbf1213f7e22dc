"""What a point of the space will cost: memory, and seconds an epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ConfigDict

from sweeper.backbones import describe_backbone
from sweeper.errors import InputError
from sweeper.planning.images import ImagesInfo
from sweeper.planning.machine import Place
from sweeper.planning.measure import StepSeconds
from sweeper.planning.points import size_names
from sweeper.planning.profile import PhaseProfile, Work, profile_phase
from sweeper.records import ParamValue
from sweeper.spec import SweepSpec, TrialConfig, resolve
from sweeper.trial.features import is_cached
from sweeper.trial.phases import Phase, phases_of

_MIB: Final = 2.0**20
_BALANCE: Final = {"cpu": 6.0, "cuda": 100.0}
"""Operations in the time of one byte to or from memory. For a CPU core fitted to steps of EfficientNet-Lite0,
ResNet-18, ViT-Tiny and DaViT at all freeze depths; for a GPU what data sheets give (A100, H100: 100 to 200 in bf16)."""
_NOMINAL: Final = {"cpu": 5e10, "cuda": 5e13}
"""Operations a second where nothing was measured: only ratios between points mean something then."""
_SOME_IMAGES: Final = ImagesInfo(classes=100, train=1000, val=250, cache_mb=0.0)
"""Where there are none; again only ratios mean something."""
_ALLOCATOR: Final = {"cpu": 1.1, "cuda": 1.1}
"""What an allocator and a library's working space take on top of the tensors."""


class Rates(BaseModel):
    """How fast one backbone runs on one device."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    forward: float
    """Seconds of one unit of work (see `load`) in a forward pass."""
    backward: float
    """Likewise in a backward pass with the optimiser's part."""
    measured: StepSeconds | None
    """What they follow from; None for figures that only compare points."""


class Measurements(BaseModel):
    """All that predictions follow from besides the settings; kept with the sweep, so that they never change."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    images: ImagesInfo | None
    """None where they are not there."""
    rates: dict[str, Rates]
    """By backbone."""
    augment_seconds: dict[str, float]
    """Of one image and thread, by `augment.policy`."""
    augment_size: int
    """The image size at which they were measured."""
    is_measured: bool
    """Whether steps were tried."""
    process_mb: float
    """Memory of a process that has loaded torch and the rest, and no model."""


class Prediction(BaseModel):
    """What one point costs."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    parameters: int
    trained: int
    """Parameters that train in the phase that trains most."""
    gflops: float
    """Billions of operations in the forward pass of one image; the phase with most."""
    batch_size: int
    memory_mb: float
    """Peak, as `peak_memory_mb` of an epoch measures it; of each of the trial's GPUs."""
    largest_batch: int | None
    """The most images that fit into the device's memory, 0 for none; None where that is not known."""
    epoch_seconds: float | None
    """Mean over the trial's epochs, evaluation included; None where images or speed are not known."""
    relative_seconds: float
    """Likewise with a nominal speed and images; serves to compare points."""
    epochs: int
    feature_mb: float
    """Kept on disk by `cache_features`."""
    state_mb: float
    """Weights, their average and the optimiser's state: a checkpoint."""
    weights_mb: float


def load(work: Work, device: str) -> float:
    """Returns work as one number of operations, memory traffic counted in.

    A depthwise convolution does little arithmetic and takes its time all the same, on the way to the memory.
    """
    return work.flops + _BALANCE[_kind(device)] * work.bytes


def rates_from(measured: StepSeconds | None, profile: PhaseProfile, device: str) -> Rates:
    """Returns the speed that a measured step of `profile` comes to."""
    if measured is None:
        nominal = 1.0 / _NOMINAL[_kind(device)]
        return Rates(forward=nominal, backward=nominal, measured=None)
    backward = max(measured.train - measured.evaluate, 0.1 * measured.train)
    return Rates(
        forward=measured.evaluate / load(profile.forward, device),
        backward=backward / load(profile.backward, device),
        measured=measured,
    )


class Predictor:
    """Predicts points of one sweep on one kind of machine.

    Usage::

        predictor = Predictor(spec, place, measurements, num_classes=101)
        predictor.predict({"backbone": "davit_tiny.msft_in1k", "freeze_depth": 2}).memory_mb
    """

    def __init__(self, spec: SweepSpec, place: Place, measurements: Measurements, *, num_classes: int) -> None:
        self._spec = spec
        self._place = place
        self._measured = measurements
        self._num_classes = num_classes
        self._names = size_names(spec)
        self._known: dict[tuple[ParamValue, ...], Prediction] = {}

    def predict(self, params: Mapping[str, ParamValue]) -> Prediction:
        """Returns what a point costs; what else differs between points is looked up.

        Raises:
            InputError: the point cannot run as asked.
        """
        key = tuple(params.get(name) for name in self._names)
        if key not in self._known:
            self._known[key] = self._predict(resolve(self._spec, params))
        return self._known[key]

    def cost(self, params: Mapping[str, ParamValue]) -> float:
        """Returns the predicted seconds of an epoch; without images or a measured speed only ratios mean something."""
        try:
            return self.predict(params).relative_seconds
        except InputError:  # nothing is known of it: neither cheap nor dear
            known = [one.relative_seconds for one in self._known.values()]
            return sum(known) / len(known) if known else 1.0

    def profiles(self, config: TrialConfig) -> tuple[tuple[Phase, PhaseProfile], ...]:
        """Returns the phases of a trial with what each asks for."""
        stages = describe_backbone(config, num_classes=self._num_classes).stages
        bf16 = self._place.runs_bf16(config.train.precision)
        return tuple(
            (phase, profile_phase(phase, num_classes=self._num_classes, bf16=bf16))
            for phase in phases_of(config, num_stages=len(stages))
        )

    def _predict(self, config: TrialConfig) -> Prediction:
        profiles = self.profiles(config)
        rates = self._measured.rates.get(config.backbone) or rates_from(None, profiles[0][1], self._place.device)
        seconds = sum(self._phase_seconds(phase, profile, rates) for phase, profile in profiles) / config.train.epochs
        known = self._measured.images is not None and rates.measured is not None
        largest = [self._largest_batch(phase, profile) for phase, profile in profiles]
        most = max(profiles, key=lambda pair: pair[1].trained)[1]
        return Prediction(
            parameters=most.parameters,
            trained=most.trained,
            gflops=max(profile.forward.flops + profile.prefix.flops for _, profile in profiles) / 1e9,
            batch_size=config.train.batch_size,
            memory_mb=max(self._memory_mb(phase, profile, config.train.batch_size) for phase, profile in profiles),
            largest_batch=min(largest) if self._place.memory_mb is not None else None,
            epoch_seconds=seconds if known else None,
            relative_seconds=seconds,
            epochs=config.train.epochs,
            feature_mb=sum(self._feature_mb(phase, profile) for phase, profile in profiles),
            state_mb=max(profile.state_bytes for _, profile in profiles) / _MIB,
            weights_mb=4 * most.parameters / _MIB,
        )

    def _memory_mb(self, phase: Phase, profile: PhaseProfile, batch: int) -> float:
        """Before the backward pass all activations are alive, after it all gradients, and those that were sent."""
        kind, processes = _kind(self._place.device), self._place.processes
        part = -(-batch // processes)
        moving = max(profile.gradient_bytes * min(processes, 2), part * _image_bytes(phase, profile))
        tensors = (profile.state_bytes + moving) * _ALLOCATOR[kind] / _MIB
        return tensors + self._fixed_mb

    @property
    def _fixed_mb(self) -> float:
        """What a process on a CPU has in memory besides tensors; of a GPU only tensors are counted."""
        if _kind(self._place.device) != "cpu":
            return 0.0
        images = self._measured.images
        return self._measured.process_mb + (images.cache_mb if images is not None else 0.0)

    def _largest_batch(self, phase: Phase, profile: PhaseProfile) -> int:
        if self._place.memory_mb is None:
            return 0
        free = (self._place.memory_mb - self._fixed_mb) * _MIB / _ALLOCATOR[_kind(self._place.device)]
        if free < profile.state_bytes + profile.gradient_bytes:
            return 0
        return math.floor((free - profile.state_bytes) / _image_bytes(phase, profile)) * self._place.processes

    def _phase_seconds(self, phase: Phase, profile: PhaseProfile, rates: Rates) -> float:
        """Returns the seconds of all epochs of a phase."""
        images = self._measured.images or _SOME_IMAGES
        train, device = phase.config.train, self._place.device
        count = images.train // train.batch_size * train.batch_size or images.train
        forward = rates.forward * load(profile.forward, device) / self._place.processes
        step = forward + rates.backward * load(profile.backward, device) / self._place.processes
        if train.teacher is not None:
            step += forward  # of a teacher that is about as large
        if not is_cached(phase):
            trained = _share_of_pixels(phase) * count * self._with_data(step, phase)
            return train.epochs * (trained + images.val * self._with_data(forward, phase))
        prefix = self._with_data(rates.forward * load(profile.prefix, device), phase)
        views = min(train.cache_features, train.epochs)
        return train.epochs * (count * step + images.val * forward) + prefix * (views * images.train + images.val)

    def _with_data(self, seconds: float, phase: Phase) -> float:
        """Adds the wait for the data: a GPU computes while threads augment; on a CPU both share the same cores."""
        measured = self._measured
        known = measured.augment_seconds
        augment = known.get(phase.config.augment.policy, max(known.values(), default=0.0))
        augment *= (phase.config.data.image_size / measured.augment_size) ** 2 / self._place.threads
        return max(seconds, augment) if _kind(self._place.device) == "cuda" else seconds + augment

    def _feature_mb(self, phase: Phase, profile: PhaseProfile) -> float:
        images = self._measured.images
        if images is None or not is_cached(phase):
            return 0.0
        views = min(phase.config.train.cache_features, phase.config.train.epochs)
        return profile.feature_bytes * (views * images.train + images.val) / _MIB


def _share_of_pixels(phase: Phase) -> float:
    """Returns the mean over a phase's epochs of an image's pixels over those at full size: less while images grow."""
    train, full = phase.config.train, phase.config.data.image_size
    growing, first = train.progressive.epochs, train.progressive.image_size
    if growing == 0:
        return 1.0
    epochs = range(phase.first, phase.last + 1)
    sizes = [min(full, first + (full - first) * (epoch - 1) / growing) for epoch in epochs]
    return sum((size / full) ** 2 for size in sizes) / len(sizes)


def _image_bytes(phase: Phase, profile: PhaseProfile) -> float:
    """Returns bytes of one image in training: its pixels as bytes and as numbers, and what the network makes of it."""
    return profile.activation_bytes + 15.0 * phase.config.data.image_size**2


def _kind(device: str) -> str:
    return device.partition(":")[0]
