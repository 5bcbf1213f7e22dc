"""The network as a file that runs without sweeper: PyTorch's exported program, and ONNX."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn
from torch.export import Dim, ExportedProgram

from sweeper.errors import ModelError
from sweeper.export.info import ModelInfo
from sweeper.export.networks import INFO_FILE, METADATA_WIDTH, info_to_onnx
from sweeper.paths import written_aside

INPUTS = ("images", "metadata")
"""Names of the inputs of an ONNX file; the second only where the network takes metadata."""
OUTPUT = "logits"


def trace(module: nn.Module, info: ModelInfo) -> ExportedProgram:
    """Traces a network, on the CPU and in eval mode, for any number of images.

    Raises:
        ModelError: its forward pass cannot be traced.
    """
    size = info.preprocess.image_size
    inputs: tuple[torch.Tensor, ...] = (torch.zeros(2, 3, size, size),)  # two: one would be taken for a constant
    if info.takes_metadata:
        inputs += (torch.zeros(2, METADATA_WIDTH),)
    batch = Dim("batch")
    shapes = tuple({0: batch} for _ in inputs)
    try:
        with _quiet():
            return torch.export.export(module, inputs, dynamic_shapes=shapes, strict=False)
    except (RuntimeError, ValueError, TypeError, AttributeError) as error:
        raise _impossible(info, "a program of `torch.export`", error) from error


def write_program(program: ExportedProgram, info: ModelInfo, path: Path) -> None:
    """Writes `program` as `.pt2`, with the info as an extra file in it."""
    # By its handle: torch insists on the ending of a name.
    with written_aside(path) as aside, aside.open("wb") as handle, _quiet():
        torch.export.save(program, handle, extra_files={INFO_FILE: info.model_dump_json(indent=2)})


def write_onnx(program: ExportedProgram, info: ModelInfo, path: Path) -> None:
    """Writes `program` as one ONNX file, with the info in its metadata.

    Raises:
        ModelError: an operation has no ONNX form, or the packages are not installed.
    """
    require_onnx()
    from torch.onnx import OnnxExporterError

    names = INPUTS[: 2 if info.takes_metadata else 1]
    try:
        with _quiet():
            converted = torch.onnx.export(
                program,
                (),
                input_names=names,
                output_names=[OUTPUT],
                dynamic_shapes=tuple({0: "batch"} for _ in names),
                dynamo=True,
                verbose=False,
            )
    except OnnxExporterError as error:
        raise _impossible(info, "ONNX", error.__cause__ or error) from error
    if converted is None:
        raise ModelError(f"`{info.backbone}` cannot be written as ONNX.")
    converted.model.metadata_props.update(info_to_onnx(info))
    with written_aside(path) as aside:
        converted.save(aside, external_data=False)


def require_onnx() -> None:
    """Refuses what needs the packages of the extra `export` where they are missing.

    Raises:
        ModelError: names the missing one.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if find_spec(package) is None:
            raise ModelError(
                f"ONNX needs the package `{package}`, which is not installed; run `pip install 'sweeper[export]'`."
            )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps torch's warnings of its own insides away from people."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _impossible(info: ModelInfo, what: str, error: BaseException) -> ModelError:
    lines = [line for line in str(error).strip().splitlines() if line.strip()] or [type(error).__name__]
    return ModelError(f"`{info.backbone}` cannot be written as {what} ({lines[0].rstrip('.')}); choose another format.")
