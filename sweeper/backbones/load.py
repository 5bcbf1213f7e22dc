"""A weights file becomes the parameters of a model; whatever does not fit is named."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from pickle import UnpicklingError

from safetensors import SafetensorError
from timm.models import load_state_dict
from torch import Tensor, nn

from sweeper.backbones.backbone import Backbone
from sweeper.backbones.heads import HeadedModel
from sweeper.backbones.stages import classifier_parameters
from sweeper.errors import BackboneError

_SUFFIXES = (".safetensors", ".bin", ".pth", ".pt", ".tar", ".ckpt")
_SHOWN = 3
"""Parameter names in a message, of those that do not fit."""


def load_weights(model: nn.Module, path: Path) -> None:
    """Loads `path` into a freshly built timm model, in place.

    timm's own filter of the model's family resizes position embeddings and bias tables to the model's image
    size. A classifier for another number of classes is left as the model initialised it.

    Args:
        model: as built by timm, with its `pretrained_cfg`.
        path: safetensors, or a PyTorch file that holds nothing but tensors and plain values.

    Raises:
        BackboneError: the file cannot be read, or does not have exactly the model's parameters.
    """
    tensors = _adapted(_read(path), model, source=str(path))
    head = set(classifier_parameters(model))
    if _pools_before_its_norm(model) and not any(name.startswith("fc_norm.") for name in tensors):
        tensors = {name: tensor for name, tensor in tensors.items() if name not in ("norm.weight", "norm.bias")}
        head |= {"fc_norm.weight", "fc_norm.bias"}
    resized = _resized(tensors, model)
    fitting = {name: tensor for name, tensor in tensors.items() if name not in resized}
    result = model.load_state_dict(fitting, strict=False)
    _require_fit(
        model,
        str(path),
        {
            "missing": [name for name in result.missing_keys if name not in head | resized],
            "unknown to the model": sorted(result.unexpected_keys),
            "of another shape": sorted(resized - head),
        },
    )


def restore_weights(backbone: Backbone, tensors: Mapping[str, Tensor], *, source: str) -> None:
    """Loads the trained weights of the same backbone, perhaps at another image size, in place; its head included.

    Args:
        backbone: as `build_backbone` returns it.
        tensors: as `merged_state` returns them.
        source: where they come from, for the message.

    Raises:
        BackboneError: they are not exactly the model's parameters.
    """
    model = backbone.model
    encoder = model.encoder if isinstance(model, HeadedModel) else model
    prefix = "encoder." if isinstance(model, HeadedModel) else ""
    inner = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    outer = {name: tensor for name, tensor in tensors.items() if not name.startswith(prefix)}
    adapted = _adapted(inner, encoder, source=source)
    fitting = {**outer, **{f"{prefix}{name}": tensor for name, tensor in adapted.items()}}
    resized = _resized(fitting, model)
    result = model.load_state_dict({n: tensor for n, tensor in fitting.items() if n not in resized}, strict=False)
    _require_fit(
        model,
        source,
        {
            "missing": [name for name in result.missing_keys if name not in resized],
            "unknown to the model": sorted(result.unexpected_keys),
            "of another shape": sorted(resized),
        },
    )


def _pools_before_its_norm(model: nn.Module) -> bool:
    """Whether the last norm is of pooled features: one trained on tokens does not fit it, and it begins anew.

    So do the authors of MAE when they fine-tune with average pooling (`main_finetune.py`).
    """
    names = {name for name, _ in model.named_parameters()}
    return "fc_norm.weight" in names and "norm.weight" not in names


def _require_fit(model: nn.Module, source: str, misfits: Mapping[str, Sequence[str]]) -> None:
    if any(misfits.values()):
        counted = "; ".join(f"{what}: {_counted(names)}" for what, names in misfits.items() if names)
        raise BackboneError(
            f"Weights must fit the backbone they are loaded into, but those of `{source}` do not fit "
            f"`{type(model).__name__}` ({counted}); check `backbone`, `backbone_args` and `weights`."
        )


def _resized(tensors: dict[str, Tensor], model: nn.Module) -> set[str]:
    """Returns the names that the file and the model have in different shapes."""
    expected = model.state_dict()
    return {name for name in expected.keys() & tensors.keys() if expected[name].shape != tensors[name].shape}


def _read(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file by name; never runs what a pickle asks for."""
    if path.suffix not in _SUFFIXES:
        raise BackboneError(
            f"A weights file must end in one of {', '.join(_SUFFIXES)}, but `{path}` does not; save its tensors "
            "with `safetensors.torch.save_file`."
        )
    try:
        # Unwraps what training scripts save: `state_dict`, `model`, averages of them, prefixes of wrappers.
        tensors = load_state_dict(str(path), weights_only=True)
    except (OSError, EOFError, RuntimeError, UnpicklingError, SafetensorError, AttributeError) as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise BackboneError(
            f"A weights file must be safetensors, or PyTorch's with tensors only, but `{path}` cannot be read as "
            f"one: {reason[0]}"
        ) from error
    if not tensors or not all(isinstance(tensor, Tensor) for tensor in tensors.values()):
        raise BackboneError(
            f"A weights file must hold named tensors and nothing else, but `{path}` does not; save "
            "`model.state_dict()`."
        )
    return dict(tensors)


def _adapted(tensors: dict[str, Tensor], model: nn.Module, *, source: str) -> dict[str, Tensor]:
    """Returns `tensors` after the filter that timm applies to files of the model's family, if it has one."""
    family = sys.modules[type(model).__module__]
    if not hasattr(family, "checkpoint_filter_fn"):
        return tensors
    try:
        adapted: dict[str, Tensor] = family.checkpoint_filter_fn(tensors, model)
    except (KeyError, IndexError, AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise BackboneError(
            f"Weights must fit the backbone they are loaded into, but those of `{source}` cannot be converted for "
            f"`{type(model).__name__}` ({error}); check `backbone`, `backbone_args` and `weights`."
        ) from error
    return adapted


def _counted(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:_SHOWN])
    return f"{len(names)}, as {shown}"
