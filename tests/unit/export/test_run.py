"""An export answers as the trial did, whatever opens it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import timm

from sweeper.backbones import read_saved_model
from sweeper.data import find_pictures
from sweeper.errors import ModelError
from sweeper.export import Check, ExportReport, ExportRequest, export_model, load_model
from sweeper.export.sources import FolderSource, scores_of
from sweeper.export.writing import Writing
from sweeper.paths import CachePaths, ModelPaths, TrialPaths
from sweeper.records import EpochMetrics
from tests.unit.export.conftest import trained

Trial = tuple[Path, EpochMetrics]


def test_every_format_answers_as_the_trial_did(exported: ExportReport, trial: Trial) -> None:
    assert [check.format for check in exported.checks] == ["safetensors", "timm", "torch", "onnx", "int8"]
    assert exported.failures == {}
    *exact, int8 = exported.checks
    assert exported.top1 == trial[1].top1
    assert all((check.agreement, check.top1) == (1.0, trial[1].top1) for check in exact)
    assert all(check.max_difference < 1e-3 for check in exact)
    assert int8.agreement > 0.9
    assert int8.max_difference > 1e-3
    assert int8.note == "static, ranges from 60 training images"


@pytest.mark.parametrize("opened", ["trial", ".", "model.onnx", "model.pt2"])
def test_predictions_on_the_validation_files_give_the_trials_accuracy(
    opened: str, exported: ExportReport, trial: Trial, digits: Path
) -> None:
    model = load_model(trial[0] if opened == "trial" else exported.folder / opened, device="cpu")
    paths = list(find_pictures([str(digits / "val")]))
    answers = model.predict(paths, top_k=2) + model.predict(paths[:1])
    right = [answer.label == path.parent.name for answer, path in zip(answers, [*paths, paths[0]], strict=True)]
    assert sum(right[:-1]) / len(paths) == trial[1].top1
    assert model.classes == tuple(f"digit {label}" for label in range(4))
    for answer in answers:
        assert answer.probabilities.sum() == pytest.approx(1.0, abs=1e-5)
        assert answer.probability == answer.probabilities.max() == answer.guesses[0].probability


def test_probabilities_are_calibrated_unless_one_asks_for_the_plain_softmax(
    exported: ExportReport, digits: Path
) -> None:
    model = load_model(exported.folder, device="cpu")
    paths = list(find_pictures([str(digits / "val")]))
    calibrated, plain = model.predict(paths), model.uncalibrated().predict(paths)
    assert exported.info.temperature != pytest.approx(1.0, abs=0.05)
    for one, other in zip(calibrated, plain, strict=True):
        sharpened = one.probabilities.astype(np.float64) ** exported.info.temperature
        np.testing.assert_allclose(sharpened / sharpened.sum(), other.probabilities, rtol=1e-3, atol=1e-6)


def test_timm_opens_the_folder_with_classes_names_and_statistics(exported: ExportReport) -> None:
    model = timm.create_model(f"local-dir:{exported.folder}", pretrained=True)
    assert model.num_classes == 4
    assert list(model.pretrained_cfg["label_names"]) == [f"digit {label}" for label in range(4)]
    data = timm.data.resolve_model_data_config(model)
    told = exported.info.preprocess
    assert (tuple(data["input_size"]), tuple(data["mean"]), tuple(data["std"])) == ((3, 32, 32), told.mean, told.std)
    assert (data["crop_pct"], data["interpolation"]) == (told.crop_pct, "bilinear")


def test_the_folder_says_where_the_model_is_from_and_not_where_the_images_lie(
    exported: ExportReport, trial: Trial, digits: Path
) -> None:
    assert (exported.origin.sweep, exported.origin.trial) == ("digits", 3)
    assert exported.origin.metrics == trial[1]
    assert exported.origin.data_fingerprint == read_saved_model(trial[0]).header["data_fingerprint"]
    text = ModelPaths(exported.folder).config.read_text() + ModelPaths(exported.folder).card.read_text()
    assert str(digits) not in text
    assert f"top-1 {trial[1].top1:.4f}" in text
    assert f"# {exported.info.backbone}, trained from scratch" in text


def test_a_head_of_ours_is_exported_and_the_card_says_that_timm_cannot_open_it(
    digits: Path, cache: CachePaths, tmp_path: Path
) -> None:
    data = {"source": "folder", "root": digits, "image_size": 32}
    train = {"epochs": 1, "batch_size": 20}
    metrics = trained(tmp_path / "trial", cache, backbone="test_vit", data=data, head={"type": "gem"}, train=train)
    report = export_model(tmp_path / "trial", tmp_path / "to", ExportRequest(device="cpu", cache=cache))
    assert [(check.format, check.top1) for check in report.checks] == [("safetensors", metrics.top1)]
    assert (
        "timm alone cannot open this folder: the model has a head of sweeper's in place of its own."
        in (tmp_path / "to" / "README.md").read_text()
    )
    assert "From a trial outside of any sweep" in (tmp_path / "to" / "README.md").read_text()


def test_images_of_another_folder_serve_where_the_trials_own_are_gone(
    trial: Trial, digits: Path, cache: CachePaths, tmp_path: Path
) -> None:
    unknown = tmp_path / "photos"
    unknown.mkdir()
    (unknown / "one.png").write_bytes((digits / "val" / "digit 1" / "20.png").read_bytes())
    (unknown / "broken.png").write_bytes(b"no image")
    report = export_model(trial[0], tmp_path / "to", ExportRequest(images=unknown, device="cpu", cache=cache))
    assert (report.images, report.top1, report.calibration) == (1, None, None)
    assert report.info.temperature == 1.0
    labelled = export_model(
        trial[0], tmp_path / "labelled", ExportRequest(images=digits / "val", device="cpu", cache=cache)
    )
    assert (labelled.images, labelled.top1) == (40, trial[1].top1)


def test_a_folder_that_is_in_use_is_refused(trial: Trial, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ModelError) as refusal:
        export_model(trial[0], tmp_path, ExportRequest())
    assert str(refusal.value) == (
        f"A model is exported to a new or empty folder, but `{tmp_path}` is not; choose another with `--to`."
    )


def test_a_file_that_answers_otherwise_is_removed(exported: ExportReport, digits: Path, tmp_path: Path) -> None:
    paths = ModelPaths(tmp_path)
    for name in ("config", "weights"):
        getattr(paths, name).write_bytes(getattr(ModelPaths(exported.folder), name).read_bytes())
    source = FolderSource(digits / "val", exported.info)
    logits = scores_of(load_model(exported.folder, device="cpu").network, source)
    backbone = read_saved_model(exported.folder).build()
    seen: list[Check] = []
    writing = Writing(paths, backbone, exported.info, source, np.roll(logits, 1, axis=1), seen.append)
    with pytest.raises(ModelError) as refusal:
        writing.base()
    assert seen == []
    assert str(refusal.value) == (
        "An exported file must answer as the original, but `model.safetensors`, opened by safetensors, says another "
        "class for 40 of 40 images; it was removed."
    )
    assert not paths.weights.exists()


def test_a_file_that_is_no_export_is_refused(tmp_path: Path) -> None:
    for ending in ("onnx", "pt2"):
        (tmp_path / f"other.{ending}").write_bytes(b"something else")
        with pytest.raises(ModelError, match=r"^A model's file must be one that `sweeper export` wrote, but .* is not"):
            load_model(tmp_path / f"other.{ending}")
    with pytest.raises(ModelError) as refusal:
        load_model(tmp_path)
    assert str(refusal.value) == (
        "A model must be the folder of a finished trial, of a sweep with one, or of an exported model, but "
        f"`{tmp_path}` does not hold `config.json` and `best.safetensors` or `model.safetensors`."
    )


def test_weights_whose_file_was_damaged_are_refused(trial: Trial, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(trial[0], tmp_path / "0003"))
    weights = TrialPaths(folder).best
    damaged = bytearray(weights.read_bytes())
    damaged[-1] ^= 1  # in the last tensor, so that the file still opens
    weights.write_bytes(damaged)
    message = f"A model's weights must be whole, but `{weights}` is damaged; take another trial."
    with pytest.raises(ModelError, match=f"^{re.escape(message)}$"):
        load_model(folder, device="cpu")
