"""A search space becomes a plan: what is there is looked at and measured for a moment, the rest follows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from sweeper.backbones import describe_backbone
from sweeper.backbones.weights import source_of_weights
from sweeper.errors import BackboneError, DataError, InputError, SweeperError
from sweeper.paths import CachePaths
from sweeper.planning.images import FewImages, ImagesInfo, look_at_images
from sweeper.planning.machine import Place, process_memory_mb
from sweeper.planning.measure import StepSeconds, measure_augmentation, measure_step
from sweeper.planning.plan import BackbonePlan, Disk, Plan, Spread
from sweeper.planning.points import corners, draws, size_names
from sweeper.planning.predict import Measurements, Prediction, Predictor, Rates, rates_from
from sweeper.planning.profile import profile_phase
from sweeper.planning.rungs import expected_epochs, expected_rungs
from sweeper.records import ParamValue
from sweeper.search.grid import grid_points
from sweeper.spec import SweepSpec, TrialConfig, resolve
from sweeper.spec.resolve import most_epochs
from sweeper.spec.training import AugmentSpec
from sweeper.trial.phases import Phase, stored_data
from sweeper.trial.setup import check_trial

_CLASSES_UNKNOWN = 100
"""Classes that a head is counted with where the images are not there."""
_MOST_PARAMETERS_ON_CPU = 2e8
"""A larger network is not tried on a CPU: making its random weights alone would take too long."""


@dataclass(frozen=True)
class PlanOptions:
    """How closely a plan looks."""

    measure: bool = True
    """Whether steps are tried where the device is there."""
    draws: int = 16
    """Random points of each backbone, besides its corners; 0 looks at its plain settings alone."""
    check: bool = True
    """Whether points are tried that might not run at all; a sweep's preflight has done that already."""


def make_plan(spec: SweepSpec, place: Place, cache: CachePaths, options: PlanOptions) -> Plan:
    """Plans a sweep; what cannot run stands in the plan's `problems`, what cannot be known in its `notes`.

    Args:
        spec: what is asked.
        place: where each trial would run.
        cache: where weights would be found.
        options: how closely to look.
    """
    notes, problems = list[str](), list[str]()
    process_mb = process_memory_mb()
    info, few = None, None
    try:
        info, few = look_at_images(stored_data(resolve(spec, {"backbone": spec.backbones[0]})))
    except DataError as error:
        notes.append(f"The images are not known, nor how long an epoch is: {error}")
    classes = info.classes if info is not None else _CLASSES_UNKNOWN
    if options.check:
        problems += _refused(spec, num_classes=classes)
        notes += _without_weights(spec, cache)
    planned = []
    for name in spec.backbones:
        reason = _uncountable(resolve(spec, {"backbone": name}), place, classes)
        if reason is None:
            planned.append(name)
        elif not any(f"`{name}`" in problem for problem in problems):
            notes.append(reason)
    measurements = _measure(spec, place, planned, info, few, process_mb=process_mb, options=options)
    predictor = Predictor(spec, place, measurements, num_classes=classes)
    predictions = {name: _predictions(spec, name, predictor, options) for name in planned}
    for name, found in predictions.items():
        problems += _too_large(name, found, place, names=size_names(spec)[1:])
    if place.memory_mb is None:
        notes.append("The device is not in this machine, so memory is not compared and no step is measured.")
    return _put_together(spec, place, measurements, predictions, tuple(notes), tuple(dict.fromkeys(problems)))


_Found = list[tuple[dict[str, ParamValue], Prediction]]


def _predictions(spec: SweepSpec, backbone: str, predictor: Predictor, options: PlanOptions) -> _Found:
    points: Iterator[dict[str, ParamValue]] = corners(spec, backbone)
    if options.draws == 0:
        points = itertools.islice(points, 1)
    found = []
    for point in itertools.chain(points, draws(spec, backbone, count=options.draws)):
        try:
            found.append((point, predictor.predict(point)))
        except InputError:
            continue  # told by the check, with its reason
    return found


def _refused(spec: SweepSpec, *, num_classes: int) -> Iterator[str]:
    """Yields why points cannot run; one sentence for each reason."""
    names = tuple(str(number) for number in range(num_classes))
    for backbone in spec.backbones:
        for point in corners(spec, backbone):
            config = resolve(spec, point)
            # A teacher's classes are compared with the real ones when the sweep starts.
            train = config.train.model_copy(update={"teacher": None})
            try:
                check_trial(config.model_copy(update={"train": train}), classes=names)
            except InputError as error:
                yield f"`{backbone}` with {_shown(point)}: {error}" if len(point) > 1 else f"`{backbone}`: {error}"


def _without_weights(spec: SweepSpec, cache: CachePaths) -> Iterator[str]:
    for backbone in spec.backbones:
        if resolve(spec, {"backbone": backbone}).weights != "pretrained":
            continue
        try:
            source = source_of_weights(backbone, cache)
        except BackboneError:
            continue  # refused already
        if source.kind in ("hub", "url", "own file"):
            where = f"from `{source.place}`" if source.place else "a file of yours"
            yield f"The pretrained weights of `{backbone}` are not on this machine yet; they must come {where}."


def _too_large(backbone: str, found: _Found, place: Place, *, names: tuple[str, ...]) -> Iterator[str]:
    limit = place.memory_mb
    if limit is None or not found:
        return
    point, worst = max(found, key=lambda pair: pair[1].memory_mb)
    if worst.memory_mb <= limit:
        return
    sizes = {name: point[name] for name in names if name in point}
    where = f" with {_shown(sizes)}" if sizes else ""
    fits = worst.largest_batch or 0
    remedy = (
        f"the largest batch that fits is {fits}; set `train.batch_size: {fits}`, and `accumulate` to keep the step"
        if fits
        else "not even one image fits; lower `data.image_size`, freeze stages, or give a trial more"
    )
    yield (
        f"A trial has {limit / 1024:.1f} GiB ({place.title}), but `{backbone}`{where} takes about "
        f"{worst.memory_mb / 1024:.1f} GiB at a `batch_size` of {worst.batch_size}: {remedy}."
    )


def _measure(  # noqa: PLR0913 - what is known so far
    spec: SweepSpec,
    place: Place,
    backbones: list[str],
    info: ImagesInfo | None,
    few: FewImages | None,
    *,
    process_mb: float,
    options: PlanOptions,
) -> Measurements:
    num_classes = info.classes if info is not None else _CLASSES_UNKNOWN
    rates = {}
    for name in backbones:
        config = _to_measure(resolve(spec, {"backbone": name}))
        seconds = _step(config, place, num_classes) if options.measure and place.memory_mb is not None else None
        rates[name] = _rates(config, seconds, place, num_classes)
    size = spec.data.image_size
    augments: dict[str, float] = {}
    if few is not None and options.measure:
        policies = {resolve(spec, point).augment.policy for name in backbones for point in _policies(spec, name)}
        for policy in sorted(policies):
            augment = resolve(spec, {"backbone": spec.backbones[0]}).augment.model_copy(update={"policy": policy})
            augments[policy] = measure_augmentation(
                few, AugmentSpec.model_validate(augment.model_dump()), image_size=size
            )
    measured = options.measure and place.memory_mb is not None
    return Measurements(
        images=info,
        rates=rates,
        augment_seconds=augments,
        augment_size=size,
        process_mb=process_mb,
        is_measured=measured,
    )


def _uncountable(config: TrialConfig, place: Place, num_classes: int) -> str | None:
    """Returns why a backbone's plain settings cannot be counted; None if they can."""
    plain = _to_measure(config)
    try:
        profile_phase(Phase(1, plain), num_classes=num_classes, bf16=place.runs_bf16(plain.train.precision))
    except InputError as error:
        return str(error)
    return None


def _policies(spec: SweepSpec, backbone: str) -> Iterator[dict[str, ParamValue]]:
    base: dict[str, ParamValue] = {"backbone": backbone}
    yield base
    for scoped in spec.parameters(backbone):
        if scoped.name == "augment.policy":
            yield from ({**base, scoped.name: value} for value in scoped.parameter.ends)


def _to_measure(config: TrialConfig) -> TrialConfig:
    """Returns the trial with all of the network training on images."""
    plain = {"freeze_depth": 0, "tune": "all", "cache_features": 0, "teacher": None}
    return config.model_copy(update={"train": config.train.model_copy(update=plain)})


def _step(config: TrialConfig, place: Place, num_classes: int) -> StepSeconds | None:
    """Returns the measured step, None where it cannot be had."""
    info = describe_backbone(config, num_classes=num_classes)
    if place.device == "cpu" and info.parameters > _MOST_PARAMETERS_ON_CPU:
        return None
    try:
        return measure_step(config, num_classes=num_classes, device=place.device, threads=place.threads)
    except (SweeperError, RuntimeError, OSError):  # no room for it, say; the plan goes on without
        return None


def _rates(config: TrialConfig, seconds: StepSeconds | None, place: Place, num_classes: int) -> Rates:
    profile = profile_phase(Phase(1, config), num_classes=num_classes, bf16=place.runs_bf16(config.train.precision))
    return rates_from(seconds, profile, place.device)


def _put_together(  # noqa: PLR0913 - all that a plan is made of
    spec: SweepSpec,
    place: Place,
    measurements: Measurements,
    predictions: dict[str, _Found],
    notes: tuple[str, ...],
    problems: tuple[str, ...],
) -> Plan:
    is_grid = spec.search.sampler == "grid"
    points = sum(1 for _ in grid_points(spec)) if is_grid else None
    trials = min(points, spec.search.trials) if points is not None else spec.search.trials
    rungs = expected_rungs(spec.search.stop_rule, trials=trials, epochs=most_epochs(spec))
    epochs = expected_epochs(rungs)
    share = 1 / max(1, len(spec.backbones))
    backbones = tuple(
        _backbone(name, [one for _, one in found], trials=trials * share, epochs=epochs * share)
        for name, found in predictions.items()
        if found
    )
    unmeasured = [name for name, rates in measurements.rates.items() if rates.measured is None]
    if unmeasured and measurements.is_measured:
        names = ", ".join(f"`{name}`" for name in unmeasured)
        notes += (f"No step could be measured of {names} (too large for this machine), so its time is not known.",)
    hours = [one.hours for one in backbones]
    known = [one for one in hours if one is not None]
    trial_hours = sum(known) if known and len(known) == len(spec.backbones) else None
    wall = None if trial_hours is None else trial_hours / min(place.slots, trials)
    price = spec.resources.price_per_hour
    return Plan(
        name=spec.name,
        place=place,
        backbones=backbones,
        trials=trials,
        grid_points=points,
        rungs=rungs,
        epochs=epochs,
        trial_hours=trial_hours,
        gpu_hours=None if trial_hours is None else trial_hours * place.gpus,
        hours=wall,
        price=None if wall is None or price is None else wall * price,
        disk=_disk(place, measurements, predictions, backbones),
        notes=notes,
        problems=problems,
        measurements=measurements,
    )


def _backbone(name: str, found: list[Prediction], *, trials: float, epochs: float) -> BackbonePlan:
    worst = max(found, key=lambda one: one.memory_mb)
    seconds = [one.epoch_seconds for one in found if one.epoch_seconds is not None]
    spread = None
    if seconds:
        spread = Spread(least=min(seconds), mean=sum(seconds) / len(seconds), most=max(seconds))
    return BackbonePlan(
        backbone=name,
        parameters=worst.parameters,
        trained=max(one.trained for one in found),
        gflops=found[0].gflops,
        batch_size=worst.batch_size,
        memory_mb=worst.memory_mb,
        largest_batch=worst.largest_batch,
        epoch_seconds=spread,
        trials=trials,
        hours=None if spread is None else epochs * spread.mean / 3600,
    )


def _disk(
    place: Place, measurements: Measurements, predictions: dict[str, _Found], backbones: tuple[BackbonePlan, ...]
) -> Disk:
    every = [one for found in predictions.values() for _, one in found]
    weights = {name: found[0][1].weights_mb for name, found in predictions.items() if found}
    return Disk(
        images_mb=measurements.images.cache_mb if measurements.images is not None else None,
        features_mb=max((one.feature_mb for one in every), default=0.0),
        weights_mb=sum(one.trials * weights[one.backbone] for one in backbones),
        checkpoints_mb=place.slots * max((one.state_mb for one in every), default=0.0),
    )


def _shown(point: dict[str, ParamValue]) -> str:
    return ", ".join(f"{name}={value}" for name, value in point.items() if name != "backbone")
