"""SweepSpec: the whole search space file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any

from pydantic import Field

from sweeper.records import ParamValue
from sweeper.spec.checkpoints import CheckpointsSpec
from sweeper.spec.data import DataSpec
from sweeper.spec.evaluation import EvalSpec
from sweeper.spec.head import HeadSpec
from sweeper.spec.model import Section
from sweeper.spec.resources import ResourcesSpec
from sweeper.spec.search import SearchSpec
from sweeper.spec.space import Parameter
from sweeper.spec.tracking import TrackingSpec
from sweeper.spec.training import AugmentSpec, TrainSpec


class OverrideSpec(Section):
    """What differs for the backbones whose name matches the pattern."""

    set: dict[str, Any] = Field(default_factory=dict)
    """Settings by the names `space` uses, e.g. `{batch_size: 32, augment.mixup: 0.2}`."""
    space: dict[str, Parameter] = Field(default_factory=dict)
    """Parameters that replace those of the same name, or that only these backbones have."""


class ScopedParameter(Section):
    """A parameter as it applies to one backbone."""

    name: str
    """As the file writes it."""
    scope: str | None
    """The pattern of the override it comes from; None for the common space."""
    parameter: Parameter

    @property
    def scoped_name(self) -> str:
        """Unique in the sweep, also where backbones have different ranges for one name."""
        return self.name if self.scope is None else f"{self.name}@{self.scope}"


class SweepSpec(Section):
    """One sweep: the images, the backbone, how it trains, what is searched and how."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")
    """Names the sweep's folder and its MLflow run: letters, digits, `.`, `_`, `-`."""
    data: DataSpec
    """Which images."""
    backbone: str | None = Field(default=None, min_length=1)
    """A timm model name; may be left out where `space` has a choice of backbones."""
    weights: str = "pretrained"
    """`pretrained`, `random`, or the path of a weights file or directory."""
    backbone_args: dict[str, Any] = Field(default_factory=dict)
    """Passed to the model's constructor, e.g. `{depths: [1, 1, 2, 1]}`."""
    head: HeadSpec = HeadSpec()
    """What turns features into class scores, where the space does not say otherwise."""
    train: TrainSpec = TrainSpec()
    """How a trial trains, where the space does not say otherwise."""
    augment: AugmentSpec = AugmentSpec()
    """How training images are varied, where the space does not say otherwise."""
    eval: EvalSpec = EvalSpec()
    """How the validation images are judged."""
    space: dict[str, Parameter] = Field(default_factory=dict)
    """What is searched: settings by name (`train.` may be left out), each with a distribution."""
    points: tuple[dict[str, ParamValue], ...] = ()
    """Points that run first, in order; what a point leaves out is sampled."""
    overrides: dict[str, OverrideSpec] = Field(default_factory=dict)
    """Settings and ranges for backbones whose name matches a pattern such as `maxvit*`."""
    search: SearchSpec = SearchSpec()
    """How points are chosen and trials stopped."""
    resources: ResourcesSpec = ResourcesSpec()
    """What one trial gets of the machine."""
    checkpoints: CheckpointsSpec = CheckpointsSpec()
    """What is kept on disk."""
    tracking: TrackingSpec = TrackingSpec()
    """Where MLflow is."""
    seed: int = Field(default=0, ge=0, lt=2**32)
    """Seeds the search and, with the trial's number left out, every trial's training."""

    @property
    def backbones(self) -> tuple[str, ...]:
        """Every backbone a trial may use."""
        if "backbone" in self.space:
            return tuple(str(name) for name in self.space["backbone"].ends)
        return (self.backbone,) if self.backbone is not None else ()

    def matching_overrides(self, backbone: str | None) -> Iterator[tuple[str, OverrideSpec]]:
        """Yields the overrides whose pattern matches `backbone`, in the file's order."""
        for pattern, override in self.overrides.items():
            if backbone is not None and fnmatchcase(backbone, pattern):
                yield pattern, override

    def backbone_of(self, chosen: Mapping[str, ParamValue]) -> str | None:
        """Returns the backbone of a point: the chosen one, else the file's."""
        return str(chosen["backbone"]) if "backbone" in chosen else self.backbone

    def parameters(self, backbone: str | None) -> tuple[ScopedParameter, ...]:
        """Returns the parameters for `backbone`, every parameter after those its `when:` names.

        `backbone` itself, where it is searched, comes first: the others may depend on it.
        """
        found = {name: ScopedParameter(name=name, scope=None, parameter=p) for name, p in self.space.items()}
        for pattern, override in self.matching_overrides(backbone):
            for name, parameter in override.space.items():
                found[name] = ScopedParameter(name=name, scope=pattern, parameter=parameter)
        ordered: dict[str, ScopedParameter] = {}

        def place(name: str) -> None:
            if name in found and name not in ordered:
                scoped = found.pop(name)
                for parent in scoped.parameter.when:
                    place(parent)
                ordered[name] = scoped

        place("backbone")
        for name in list(found):
            place(name)
        return tuple(ordered.values())
