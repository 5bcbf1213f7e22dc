from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from sweeper.backbones import DIGEST_KEY, digest_of
from sweeper.errors import CheckpointError
from sweeper.records import EpochMetrics
from sweeper.trial.checkpoint import Checkpoint, load_checkpoint, save_checkpoint, save_weights


def metrics(epoch: int) -> EpochMetrics:
    measured = EpochMetrics.model_fields.keys() - {"epoch", "parameters", "micro_batch"}
    numbers = dict.fromkeys(measured, 0.1 * epoch)
    return EpochMetrics(epoch=epoch, **numbers)


def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    return Checkpoint(
        config_hash="abc",
        history=(metrics(1), metrics(2)),
        step=7,
        micro_batch=16,
        model=model.state_dict(),
        average={},
        optimizer=optimizer.state_dict(),
    )


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path) -> None:
    saved = checkpoint()
    save_checkpoint(saved, tmp_path / "new" / "last.ckpt")
    loaded = load_checkpoint(tmp_path / "new" / "last.ckpt", config_hash="abc")
    assert loaded is not None
    assert (loaded.history, loaded.step, loaded.micro_batch) == (saved.history, 7, 16)
    assert torch.equal(loaded.model["weight"], saved.model["weight"])
    assert loaded.model["weight"].is_contiguous(memory_format=torch.channels_last)
    assert loaded.optimizer["param_groups"] == saved.optimizer["param_groups"]
    assert torch.equal(loaded.optimizer["state"][0]["exp_avg"], saved.optimizer["state"][0]["exp_avg"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["last.ckpt"]


def test_there_is_no_checkpoint_where_none_was_saved(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "last.ckpt", config_hash="abc") is None


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "empty"])
def test_a_damaged_checkpoint_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(checkpoint(), path)
    whole = path.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "cut": whole[:-1],
        "grow": whole + b"\0",
        "empty": b"",
    }
    path.write_bytes(damaged[damage])
    message = f"A checkpoint must be whole, but `{path}` is damaged; delete it to start anew."
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_checkpoint(path, config_hash="abc")


class Payload:
    """What a hostile file would run when unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("unpickled",))


def test_a_pickle_with_the_right_digest_is_never_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "last.ckpt"
    torch.save({"history": (), "model": Payload()}, path)
    path.write_bytes(path.read_bytes() + hashlib.sha256(path.read_bytes()).digest())
    message = (
        f"A checkpoint holds tensors and plain values only, but `{path}` asks for more, which is not run; "
        "delete it to start anew."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_checkpoint(path, config_hash="abc")
    assert "unpickled" not in capsys.readouterr().out


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(checkpoint(), path)
    message = (
        f"A trial goes on only with the settings it began with, but `{path}` is of settings `abc` and not of "
        "`xyz`; delete it to start anew."
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        load_checkpoint(path, config_hash="xyz")


def test_a_failing_save_leaves_the_old_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.ckpt"
    save_checkpoint(checkpoint(), path)
    before = path.read_bytes()
    unpicklable = Checkpoint(**{**vars(checkpoint()), "optimizer": {"hook": lambda: None}})
    with pytest.raises(AttributeError):
        save_checkpoint(unpicklable, path)
    assert path.read_bytes() == before
    assert [found.name for found in tmp_path.iterdir()] == ["last.ckpt"]


def test_channels_last_weights_are_kept_as_safetensors(tmp_path: Path) -> None:
    weights = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last).state_dict()
    save_weights(weights, tmp_path / "best.safetensors", about={"classes": "[]"})
    assert torch.equal(load_file(tmp_path / "best.safetensors")["weight"], weights["weight"])
    with safe_open(tmp_path / "best.safetensors", "pt") as kept:
        assert kept.metadata() == {"classes": "[]", DIGEST_KEY: digest_of(weights)}


def test_the_digest_of_weights_tells_a_changed_value_name_or_shape() -> None:
    weights = {"a": torch.arange(4.0), "b": torch.ones(2)}
    changed = [
        {**weights, "b": torch.tensor([1.0, 1.0 + 1e-6])},
        {"a": weights["a"], "c": weights["b"]},
        {**weights, "a": weights["a"].view(2, 2)},
    ]
    assert digest_of(dict(reversed(weights.items()))) == digest_of(weights)
    assert len({digest_of(each) for each in [weights, *changed]}) == 4
