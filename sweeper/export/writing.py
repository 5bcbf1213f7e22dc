"""The files of one export: each is written, opened again as a user would, and compared with the original."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from torch.export import ExportedProgram

from sweeper.backbones import Backbone, open_in_timm, opens_in_timm
from sweeper.errors import ModelError
from sweeper.export.calibration import Scores
from sweeper.export.formats import trace, write_onnx, write_program
from sweeper.export.info import ModelInfo
from sweeper.export.model import load_model
from sweeper.export.networks import Network, TorchNetwork, open_onnx, open_program
from sweeper.export.quantised import CALIBRATION_IMAGES, Method, write_int8
from sweeper.export.report import Check, compare
from sweeper.export.sources import Source, scores_of
from sweeper.paths import ModelPaths

OnCheck = Callable[[Check], None]

_MOST_OTHERS: Final = 0.001
"""Share of the images on which a file may say another class than the original: 0.1 points. One image always may."""
_INT8_LOSS: Final = 0.02
"""Share of other answers above which static quantisation is held against dynamic quantisation."""


@dataclass
class Writing:
    """An export under way."""

    paths: ModelPaths
    backbone: Backbone
    """The original, on the CPU."""
    info: ModelInfo
    source: Source
    logits: Scores
    """Of the original, for all images of the source."""
    on_check: OnCheck
    checks: list[Check] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)

    def base(self) -> None:
        """Compares the folder as `load_model` and timm open it; its files are there already.

        Raises:
            ModelError: it does not answer as the original.
        """
        self._keep("safetensors", self.paths.weights, load_model(self.paths.root, device="cpu").network)
        if opens_in_timm(self.backbone) and not self.info.takes_metadata:
            self._keep("timm", self.paths.weights, TorchNetwork(open_in_timm(self.paths.root)))

    def traced(self, *, torch: bool, onnx: bool, int8: bool) -> None:
        """Writes and compares the formats asked for; what cannot be written is noted in `failures`.

        Args:
            torch: write PyTorch's exported program.
            onnx: write ONNX.
            int8: write ONNX in eight bits; `onnx` must be asked for too.
        """
        wanted = [name for name, asked in (("torch", torch), ("onnx", onnx), ("int8", int8)) if asked]
        with self._told(*wanted):
            program = trace(self.backbone.model, self.info) if wanted else None
            if program and torch:
                with self._told("torch"):
                    write_program(program, self.info, self.paths.program)
                    self._keep("torch", self.paths.program, open_program(self.paths.program)[0])
            if program and onnx:
                with self._told(*(name for name in wanted if name != "torch")):
                    self._onnx(program, int8=int8)

    def _onnx(self, program: ExportedProgram, *, int8: bool) -> None:
        write_onnx(program, self.info, self.paths.onnx)
        self._keep("onnx", self.paths.onnx, open_onnx(self.paths.onnx)[0])
        if int8:
            with self._told("int8"):
                self._int8()

    def _int8(self) -> None:
        """Keeps static quantisation, or dynamic where that loses less.

        Raises:
            ModelError: the network can be quantised neither way.
        """
        pixels, what = self.source.sample(CALIBRATION_IMAGES)
        tried: list[tuple[Check, Path]] = []
        reasons = []
        # Nothing is known of the training images' metadata here: ranges taken from zeros would cut it off.
        methods: tuple[Method, ...] = ("dynamic",) if self.info.takes_metadata else ("static", "dynamic")
        with TemporaryDirectory(dir=self.paths.root) as folder:
            for method in methods:
                path = Path(folder) / f"{method}.onnx"
                try:
                    write_int8(self.paths.onnx, path, self.info, method=method, pixels=pixels)
                    check = self._check("int8", path, open_onnx(path)[0])
                except ModelError as error:
                    reasons.append(str(error))
                    continue
                note = f"static, ranges from {what}" if method == "static" else "dynamic"
                tried.append((check.model_copy(update={"file": self.paths.int8.name, "note": note}), path))
                if check.agreement >= 1 - _INT8_LOSS:
                    break
            if not tried:
                raise ModelError(" ".join(reasons))
            best, path = max(tried, key=lambda one: one[0].agreement)
            path.replace(self.paths.int8)
        self._add(best)

    def _keep(self, name: str, path: Path, network: Network) -> None:
        """Compares a file, and removes it where it does not answer as the original."""
        check = self._check(name, path, network)
        others = round((1 - check.agreement) * len(self.logits))
        if others > max(1, _MOST_OTHERS * len(self.logits)):
            path.unlink()
            raise ModelError(
                f"An exported file must answer as the original, but `{path.name}`, opened by {name}, says another "
                f"class for {others} of {len(self.logits)} images; it was removed."
            )
        self._add(check)

    def _check(self, name: str, path: Path, network: Network) -> Check:
        difference, agreement, top1 = compare(self.logits, scores_of(network, self.source), self.source.labels)
        return Check(
            format=name,
            file=path.name,
            size_bytes=path.stat().st_size,
            max_difference=difference,
            agreement=agreement,
            top1=top1,
        )

    def _add(self, check: Check) -> None:
        self.checks.append(check)
        self.on_check(check)

    @contextmanager
    def _told(self, *names: str) -> Iterator[None]:
        """Notes why formats could not be written, and goes on."""
        try:
            yield
        except ModelError as error:
            self.failures |= {name: str(error) for name in names}
