"""An ONNX file in whole numbers of eight bits, by ONNX Runtime's quantisation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import torch

from sweeper.data import Pixels, Preprocessor
from sweeper.errors import ModelError
from sweeper.export.formats import INPUTS
from sweeper.export.info import ModelInfo
from sweeper.export.networks import onnx_errors
from sweeper.paths import written_aside

Method = Literal["static", "dynamic"]
"""Ranges of activations settled once from images, or found anew for each batch."""

CALIBRATION_IMAGES: Final = 256
_BATCH: Final = 32
_OPERATIONS: Final = ["Conv", "Gemm", "MatMul"]
"""What is quantised: nearly all of the arithmetic. Norms, softmax and sums stay as they are; they lose most."""

_REFUSALS: Final = (AssertionError, AttributeError, IndexError, KeyError, TypeError, ValueError, RuntimeError)
"""What ONNX Runtime's Python passes raise for graphs they do not know."""


def write_int8(source: Path, path: Path, info: ModelInfo, *, method: Method, pixels: Pixels) -> None:
    """Quantises the ONNX file `source` into `path`; its metadata goes along.

    Args:
        source: as `write_onnx` wrote it.
        path: where the result belongs.
        info: of the model.
        method: `static` or `dynamic`.
        pixels: (N, S, S, 3) uint8, from which `static` takes the ranges of the activations.

    Raises:
        ModelError: ONNX Runtime cannot quantise this network so.
    """
    from onnxruntime.quantization import QuantType, quantize_dynamic, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    try:
        with TemporaryDirectory() as folder, written_aside(path) as aside:
            prepared = Path(folder) / "prepared.onnx"
            quant_pre_process(source, prepared, skip_symbolic_shape=True)
            if method == "static":
                reader = _reader(info, pixels)
                quantize_static(prepared, aside, reader, op_types_to_quantize=_OPERATIONS, per_channel=True)
            else:
                # Of unsigned convolutions alone ONNX Runtime has an implementation that finds ranges by itself.
                quantize_dynamic(prepared, aside, op_types_to_quantize=_OPERATIONS, weight_type=QuantType.QUInt8)
    except _REFUSALS + onnx_errors() as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ModelError(f"`{info.backbone}` cannot be quantised ({method}): {reason}.") from error


def _reader(info: ModelInfo, pixels: Pixels) -> Any:
    """Returns what gives ONNX Runtime the images, batch by batch."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime has no types
        """One batch a call, None behind the last."""

        def __init__(self) -> None:
            self._batches = _batches(info, pixels)

        def get_next(self) -> dict[str, Any] | None:
            """Returns the next batch by the names of the inputs."""
            return next(self._batches, None)

    return Reader()


def _batches(info: ModelInfo, pixels: Pixels) -> Iterator[dict[str, Any]]:
    preprocess = info.preprocess
    prepare = Preprocessor(preprocess.mean, preprocess.std, num_classes=len(info.classes), device=torch.device("cpu"))
    for first in range(0, len(pixels), _BATCH):
        part = torch.from_numpy(pixels[first : first + _BATCH])
        yield {INPUTS[0]: prepare.normalised(part).contiguous().numpy()}
