"""YAML as people break it ends in one of our own errors, and what is written reads back."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweeper.errors import SpecError
from sweeper.spec import SweepSpec, dump_spec, load_spec
from sweeper.spec.document import Document, dump_yaml
from sweeper.spec.load import spec_of

BROKEN = [
    "[1, 2]", "just words", "name: &a [*a]", "name: !!int foo", "name: !!bool foo", "name: !!timestamp abc",
    "name: !!python/object:os.system x", "a: b\n\tc: d", "? [1]\n: 2", "<<: {name: x}", "a: *nowhere", "name: {{}}",
    "9" * 5000, "name: " + "9" * 5000, "data: null", "space: {lr: null}", "space: null", "overrides: null",
    "overrides: {a: null}", "points: null", "points: [1]", "points: {lr: 1}", "train: []", "search: {stop: []}",
    "space: {lr: {when: {x: {y: 1}}}}", "1: 2", "name: x\nname: y", "data: {source: null}", "data: {source: [1]}",
    "weights: ~nosuchuser/x", "resources: {gpus_per_trial: .inf}", "space: {lr: {log: [1e-5, .inf]}}", "seed: 1e400",
    "space: {backbone: {choice: []}}", "space: {lr: {choice: [[1], [2]]}}", "backbone: ''",
]  # fmt: skip


@pytest.mark.parametrize("text", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_ends_in_our_own_error(text: str) -> None:
    with pytest.raises(SpecError):
        spec_of(Document.parse(text, name="broken.yaml"))


@pytest.mark.parametrize(
    "override", ["a..b=1", "=1", "space.=1", ".=1", "train.lr=&a [*a]", "train.lr=!!int foo", "points.0.lr=1", "name"]
)
def test_a_broken_override_ends_in_our_own_error(text: str, override: str) -> None:
    def load() -> SweepSpec:
        document = Document.parse(text, name="space.yaml")
        document.override(override)
        return spec_of(document)

    with pytest.raises(SpecError):
        load()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_file_with_random_damage_is_read_or_refused(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    length = data.draw(st.integers(0, 30))
    damage = data.draw(st.text(alphabet="abc:{}[],-&*!|>'\"#%@` \n\t0.1e~", max_size=12))
    with contextlib.suppress(SpecError):
        spec_of(Document.parse(text[:start] + damage + text[start + length :], name="damaged.yaml"))


@pytest.mark.parametrize(
    "word", ["7e3", "1e5", "no", "on", "3a", "null", "~", "1_000", "0x1f", "2026-11-23", "true", ".5"]
)
def test_words_that_look_like_numbers_read_back_as_words(word: str) -> None:
    assert Document.parse(dump_yaml({"name": word}), name="x").values == {"name": word}


def test_a_resolved_spec_with_an_odd_name_can_be_resumed(tmp_path: Path) -> None:
    spec = SweepSpec.model_validate({"name": "7e3", "data": {"source": "digits"}, "backbone": "b", "weights": "/w/1e5"})
    (tmp_path / "resolved.yaml").write_text(dump_spec(spec))
    assert load_spec(tmp_path / "resolved.yaml") == spec


def test_an_override_takes_the_place_of_what_the_file_said_there(refusal: Callable[..., str]) -> None:
    assert refusal("", "", "space.lr={log: [-1, 1]}") == (
        "--set space.lr={log: [-1, 1]}: space.lr.log.0: must be greater than 0, but got `-1`."
    )


def test_an_empty_override_is_null(load: Callable[..., Any]) -> None:
    assert load("", "", "tracking.experiment=").tracking.experiment is None


def test_weights_are_absolute_wherever_they_stand(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    text = (
        "name: x\ndata: {source: digits}\nbackbone: b\nweights: a.safetensors\n"
        "space: {weights: {choice: [pretrained, b.safetensors]}}\n"
        "overrides: {b: {set: {weights: c.safetensors}}}\n"
    )
    spec = spec_of(Document.parse(text, name="x"))
    assert spec.weights == str(tmp_path / "a.safetensors")
    assert spec.space["weights"].ends == ("pretrained", str(tmp_path / "b.safetensors"))
    assert spec.overrides["b"].set == {"weights": str(tmp_path / "c.safetensors")}
