"""A search space file becomes a SweepSpec, or one clear sentence for each mistake."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sweeper.errors import SpecError
from sweeper.spec import SweepSpec, dump_spec, load_spec

Load = Callable[..., SweepSpec]
Refusal = Callable[..., str]


def test_a_valid_file_is_read_whole(load: Load) -> None:
    spec = load()
    assert spec.name == "davit-fungi"
    assert spec.backbones == ("davit_tiny.msft_in1k",)
    assert spec.space["lr"].ends == (3e-5, 1e-3)
    assert spec.search.trials == 64
    assert spec.resources.gpus_per_trial == 0.5


def test_a_number_without_a_dot_in_scientific_notation_is_a_number(load: Load) -> None:
    assert load("3e-5", "1e-4").space["lr"].ends[0] == 1e-4


def test_no_is_a_word_and_not_false(load: Load) -> None:
    assert load("experiment: fungi", "experiment: no").tracking.experiment == "no"


def test_a_dumped_spec_reads_back_as_an_equal_one(load: Load, tmp_path: Path) -> None:
    spec = load()
    path = tmp_path / "resolved.yaml"
    path.write_text(dump_spec(spec))
    assert load_spec(path) == spec


def test_relative_paths_become_absolute(load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    spec = load("root: /photos", "root: photos", "weights=models/my.safetensors")
    assert spec.data.root == tmp_path / "photos"  # type: ignore[union-attr]
    assert spec.weights == str(tmp_path / "models/my.safetensors")


def test_relative_paths_of_teachers_and_metadata_become_absolute_wherever_they_stand(
    load: Load, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = load(
        "",
        "",
        "data.metadata=places.csv",
        "train.teacher=sweeps/davit",
        "space.teacher={choice: [a, null]}",
        "overrides={'davit*': {set: {teacher: b}}}",
        "points=[{teacher: a}]",
    )
    assert spec.data.metadata == tmp_path / "places.csv"
    assert spec.train.teacher == str(tmp_path / "sweeps/davit")
    assert spec.space["teacher"].ends == (str(tmp_path / "a"), None)
    assert spec.overrides["davit*"].set == {"teacher": str(tmp_path / "b")}
    assert spec.points[0] == {"teacher": str(tmp_path / "a")}


def test_set_changes_nested_values_and_names_with_dots(load: Load) -> None:
    spec = load("", "", "search.trials=3", "space.augment.mixup={uniform: [0, 0.5]}", "train.ema_decay=0.99")
    assert spec.search.trials == 3
    assert spec.space["augment.mixup"].ends == (0.0, 0.5)
    assert spec.train.ema_decay == 0.99


def test_set_can_add_a_parameter_to_the_space(load: Load) -> None:
    assert load("", "", "space.augment.cutmix={uniform: [0, 1]}").space["augment.cutmix"].ends == (0.0, 1.0)


def test_set_merges_a_mapping_into_a_section(load: Load) -> None:
    spec = load("", "", "train={epochs: 2}")
    assert (spec.train.epochs, spec.train.batch_size) == (2, 64)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("trials: 64", "trails: 64", "space.yaml:11: search.trails: unknown key `trails`; did you mean `trials`?"),
        ("epochs: 30", "epochs: 0", "space.yaml:4: train.epochs: must be greater than or equal to 1, but got `0`."),
        (
            "epochs: 30",
            "epochs: many",
            "space.yaml:4: train.epochs: must be a valid integer, but got `many`.",
        ),
        (
            "[3e-5, 1.0e-3]",
            "[1e-3, 1e-5]",
            "space.yaml:6: space.lr.log: a range needs low < high, but got [0.001, 1e-05]; one value is `{fixed: 0.001}`.",
        ),
        ("[3e-5, 1.0e-3]", "[-1, 1]", "space.yaml:6: space.lr.log.0: must be greater than 0, but got `-1`."),
        (
            "lr:          {log:",
            "lr: {logg:",
            "space.yaml:6: space.lr: a parameter has exactly one of `uniform`, `log`, `int`, `log_int`, `choice`, "
            "`fixed`, but got `logg`; did you mean `log`?",
        ),
        (
            "{int: [0, 4]}",
            "3",
            "space.yaml:8: space.freeze_depth: a parameter is a mapping with one of `uniform`, `log`, `int`, `log_int`, "
            "`choice`, `fixed`, but got `3`; one value is `{fixed: ...}`.",
        ),
        ("  lr: ", "  lrr: ", "space.yaml:6: space.lrr: `lrr` is not a setting; did you mean `lr`?"),
        (
            "source: folder",
            "source: foldr",
            "space.yaml:2: data: must be one of `folder`, `digits`, `inat2017`, `inat2018`, `inat2019`, "
            "`inat2021`, `csv`, `parquet`, `webdataset`, `torchvision`, but got `foldr`; did you mean `folder`?",
        ),
        (", root: /photos", "", "space.yaml:2: data.root: `root` is required."),
        ("source: folder, ", "", "space.yaml:2: data: `source` is required."),
        ("name: davit-fungi\n", "", "space.yaml:1: name: `name` is required."),
        (
            "sampler: tpe",
            "sampler: tpee",
            "space.yaml:11: search.sampler: must be one of `curves`, `tpe`, `random`, `grid`, `gp`, but got `tpee`; "
            "did you mean `tpe`?",
        ),
        (
            "{asha: {grace_epochs: 2, reduction: 3}}",
            "ahsa",
            "space.yaml:11: search.stop: must be one of `none`, `asha`, `hyperband`, `median`, but got `ahsa`; "
            "did you mean `asha`?",
        ),
        (
            "gpus_per_trial: 0.5",
            "gpus_per_trial: lots",
            "space.yaml:12: resources.gpus_per_trial: must be `auto` or a number, but got `lots`.",
        ),
        ("tracking:", "name:", "space.yaml:13: `name` stands here twice; keep one of them."),
        ("name: davit-fungi", "name: !!int ''", "space.yaml:1: not valid YAML: `` is not what its tag `!!int` says."),
        ("space:", "space: [", "space.yaml:7: not valid YAML: expected ',' or ']', but got '<scalar>'."),
    ],
)
def test_a_mistake_is_named_with_its_line_key_rule_value_and_nearest_name(
    refusal: Refusal, old: str, new: str, message: str
) -> None:
    assert refusal(old, new) == message


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "search.trails=3",
            "--set search.trails=3: search.trails: unknown key `trails`; did you mean `trials`?",
        ),
        ("search.trials", "--set search.trials: an override is `key=value`, as in `--set search.trials=20`."),
        ("name.x=1", "--set name.x=1: `name` is a plain value and has no `x`."),
        ("train.epochs=[", "--set train.epochs=[: the value is not valid YAML: quote it."),
    ],
)
def test_a_mistake_in_an_override_is_named_by_the_override(refusal: Refusal, override: str, message: str) -> None:
    assert refusal("", "", override) == message


def test_all_mistakes_are_told_at_once(refusal: Refusal) -> None:
    lines = refusal("epochs: 30, batch_size: 64", "epochs: 0, batch_sise: 64").splitlines()
    assert lines == [
        "space.yaml:4: train.epochs: must be greater than or equal to 1, but got `0`.",
        "space.yaml:4: train.batch_sise: unknown key `batch_sise`; did you mean `batch_size`?",
    ]


def test_a_missing_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(
        SpecError, match=r"^Cannot read the search space `.*nowhere.yaml`: No such file or directory\.$"
    ):
        load_spec(tmp_path / "nowhere.yaml")


def test_an_empty_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    path = tmp_path / "empty.yaml"
    path.write_text("# nothing\n")
    with pytest.raises(
        SpecError, match=r"a search space is a mapping such as `name: davit`, but the file holds none\.$"
    ):
        load_spec(path)


def test_a_prior_and_an_earlier_sweeps_folder_are_found_from_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "sweep.yaml"
    file.write_text(
        "name: s\ndata: {source: digits}\nbackbone: vit\n"
        "search: {prior: own.yaml, warm_start: [{sweep: old/davit}, {sweep: davit}]}\n"
    )
    search = load_spec(file).search
    assert search.prior == str(tmp_path / "own.yaml")
    assert [source.sweep for source in search.warm_start] == [str(tmp_path / "old" / "davit"), "davit"]
    assert load_spec(file, ["search.prior=none"]).search.prior == "none"


def test_a_warm_start_names_one_whole_source(tmp_path: Path) -> None:
    file = tmp_path / "sweep.yaml"
    for source, message in (
        ("{}", "a warm start needs exactly one of `sweep`, `study`, `mlflow`."),
        ("{study: u}", "a warm start needs `study` and `name` together."),
        ("{sweep: a, experiment: b}", "a warm start needs `mlflow` and `experiment` together."),
    ):
        file.write_text(f"name: s\ndata: {{source: digits}}\nbackbone: vit\nsearch: {{warm_start: [{source}]}}\n")
        with pytest.raises(SpecError, match=f"^{re.escape(f'{file}:4: search.warm_start.0: {message}')}$"):
            load_spec(file)
