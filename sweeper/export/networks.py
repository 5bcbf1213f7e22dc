"""The same network in three formats, each called the same way."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, final
from zipfile import is_zipfile

import torch
from torch import Tensor, nn

from sweeper.errors import ModelError
from sweeper.export.info import ModelInfo

INFO_FILE: Final = "model.json"
"""What the `ModelInfo` is called inside a `.pt2` file."""
_CPU: Final = torch.device("cpu")
METADATA_WIDTH: Final = 7
"""Numbers that say date and place of an image."""


class Network(ABC):
    """Gives logits for prepared images; not to be called by two threads at once."""

    @abstractmethod
    def __call__(self, images: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Returns logits (B, C), float32, on the CPU.

        Args:
            images: (B, 3, S, S) float32, normalised, on the CPU.
            metadata: (B, 7), date and place, where the network takes them.
        """


@final
class TorchNetwork(Network):
    """A module in eval mode, on any device."""

    def __init__(self, module: nn.Module, device: torch.device = _CPU) -> None:
        self._module = module.to(device)
        self._device = device

    @torch.no_grad()  # not inference_mode: what a module caches here must serve a trace too
    def __call__(self, images: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Runs the module in float32."""
        inputs = (images,) if metadata is None else (images, metadata)
        logits: Tensor = self._module(*(one.to(self._device) for one in inputs))
        return logits.float().cpu()


@final
class OnnxNetwork(Network):
    """An ONNX file in ONNX Runtime, on the CPU."""

    def __init__(self, path: Path) -> None:
        self._session = _open_session(path)
        self._names = [one.name for one in self._session.get_inputs()]

    @property
    def info(self) -> ModelInfo:
        """What the file says of itself."""
        return info_from_onnx(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, images: Tensor, metadata: Tensor | None = None) -> Tensor:
        """Runs the session."""
        inputs = (images,) if metadata is None else (images, metadata)
        given = {name: one.contiguous().numpy() for name, one in zip(self._names, inputs, strict=True)}
        return torch.from_numpy(self._session.run(None, given)[0])


def info_to_onnx(info: ModelInfo) -> dict[str, str]:
    """Returns the info as ONNX keeps it: named strings, each of them JSON."""
    return {name: json.dumps(value) for name, value in info.model_dump(mode="json").items()}


def info_from_onnx(properties: dict[str, str]) -> ModelInfo:
    """Returns what `info_to_onnx` wrote; other names are left alone."""
    names = ModelInfo.model_fields.keys() & properties.keys()
    return ModelInfo.model_validate({name: json.loads(properties[name]) for name in names})


def open_onnx(path: Path) -> tuple[OnnxNetwork, ModelInfo]:
    """Opens an exported `.onnx` file.

    Raises:
        ModelError: ONNX Runtime is not installed, or the file is not one that sweeper exported.
    """
    if find_spec("onnxruntime") is None:
        raise ModelError(
            f"ONNX Runtime must be installed to open `{path}`, but is not; run `pip install onnxruntime`, or "
            "`pip install 'sweeper[export]'`."
        )
    try:
        network = OnnxNetwork(path)
        return network, network.info
    except onnx_errors() as error:
        raise _unreadable(path, error) from error


def open_program(path: Path) -> tuple[TorchNetwork, ModelInfo]:
    """Opens an exported `.pt2` file.

    Raises:
        ModelError: the file is not one that sweeper exported.
    """
    extra = {INFO_FILE: ""}
    if not is_zipfile(path):  # torch would log a traceback of its own first
        raise _unreadable(path, ValueError("not a zip archive"))
    try:
        program = torch.export.load(path, extra_files=extra)
        info = ModelInfo.model_validate_json(extra[INFO_FILE])
    except (RuntimeError, OSError, KeyError, ValueError) as error:
        raise _unreadable(path, error) from error
    return TorchNetwork(program.module()), info


def _open_session(path: Path) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def onnx_errors() -> tuple[type[Exception], ...]:
    """Returns what opening a foreign file raises: errors of ONNX Runtime have no class in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    own = tuple(one for one in vars(state).values() if isinstance(one, type) and issubclass(one, Exception))
    return (*own, ValueError)


def _unreadable(path: Path, error: Exception) -> ModelError:
    reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return ModelError(f"A model's file must be one that `sweeper export` wrote, but `{path}` is not ({reason}).")
