"""The state after an epoch, from which a trial goes on as if it had never stopped."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

import torch
from safetensors.torch import save_file

from sweeper.backbones import DIGEST_KEY, digest_of
from sweeper.errors import CheckpointError
from sweeper.paths import Writer, written_aside
from sweeper.records import EpochMetrics

_DIGEST_BYTES = hashlib.sha256().digest_size


@dataclass(frozen=True)
class Checkpoint:
    """All that later training depends on. Between two epochs no random generators are: each epoch seeds them anew."""

    config_hash: str
    """`TrialConfig.hash` of the trial it belongs to."""
    history: tuple[EpochMetrics, ...]
    """The epochs finished so far."""
    step: int
    """Optimiser steps done so far."""
    micro_batch: int
    """Images in one pass; below the batch size once memory ran out."""
    model: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer: dict[str, Any]
    """The state dictionaries of the three."""
    progress: dict[str, Any] | None = None
    """How far the next epoch is, as `trial.progress` writes it; None between two epochs."""


def save_checkpoint(checkpoint: Checkpoint, path: Path, *, written: Writer = written_aside) -> None:
    """Replaces the file at `path`, all or nothing; a SHA-256 of the content ends it."""
    content = vars(checkpoint) | {"history": [metrics.model_dump() for metrics in checkpoint.history]}
    with written(path) as aside:
        # Through a file of Python's: torch's own says of a full disk only that something went wrong.
        with aside.open("wb") as file:
            torch.save(content, file)
        with aside.open("r+b") as handle:
            digest = _digest(handle, num_bytes=aside.stat().st_size)
            handle.write(digest)


def load_checkpoint(path: Path, *, config_hash: str) -> Checkpoint | None:
    """Loads the checkpoint at `path` onto the CPU.

    Args:
        path: where `save_checkpoint` wrote.
        config_hash: of the trial that wants to go on.

    Returns:
        None if there is no such file.

    Raises:
        CheckpointError: the file is damaged, asks to run something, or was written by a trial with other settings.
    """
    if not path.exists():
        return None
    with path.open("rb") as handle:
        digest = _digest(handle, num_bytes=path.stat().st_size - _DIGEST_BYTES)
        if handle.read() != digest:
            raise CheckpointError(f"A checkpoint must be whole, but `{path}` is damaged; delete it to start anew.")
    # The digest behind the archive does not disturb: a zip file is read from its end, comments skipped.
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise CheckpointError(
            f"A checkpoint holds tensors and plain values only, but `{path}` asks for more, which is not run; "
            "delete it to start anew."
        ) from error
    history = tuple(EpochMetrics(**metrics) for metrics in content.pop("history"))
    checkpoint = Checkpoint(history=history, **content)
    if checkpoint.config_hash != config_hash:
        raise CheckpointError(
            f"A trial goes on only with the settings it began with, but `{path}` is of settings "
            f"`{checkpoint.config_hash}` and not of `{config_hash}`; delete it to start anew."
        )
    return checkpoint


def save_weights(
    weights: Mapping[str, torch.Tensor], path: Path, *, about: dict[str, str], written: Writer = written_aside
) -> None:
    """Replaces the safetensors file at `path` by `weights`; what they are `about` goes into its header."""
    # safetensors has no memory formats: it refuses channels-last tensors.
    contiguous = {name: tensor.contiguous() for name, tensor in weights.items()}
    about = {**about, DIGEST_KEY: digest_of(contiguous)}
    with written(path) as aside:
        save_file(contiguous, aside, metadata=about)


def _digest(handle: BinaryIO, *, num_bytes: int) -> bytes:
    """Reads `num_bytes` (fewer than none count as none) from `handle` and returns their SHA-256."""
    digest = hashlib.sha256()
    while num_bytes > 0 and (chunk := handle.read(min(num_bytes, 1 << 20))):
        digest.update(chunk)
        num_bytes -= len(chunk)
    return digest.digest()
