"""The page of a sweep, whatever became of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any

import pytest

from sweeper.records import Failure, TrialState
from sweeper.report import Report, Source, report_of
from sweeper.report.render import render
from tests.unit.report.conftest import epoch_of, random_records, record_of, spec_with

MakeSource = Callable[..., Source]
WRONG = Failure(reason="OutOfMemoryError: 16 GiB", traceback="Traceback (most recent call last):\n  line 1")


class Page(HTMLParser):
    """What a page holds: headings, texts, attributes; complains of tags that are closed wrongly."""

    VOID = {"meta", "link", "img", "br", "input", "hr"}  # noqa: RUF012 - HTML's own

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.headings: list[str] = []
        self.texts: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, self.getpos()

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.texts.append(data)
            if self.open[-1] == "h2":
                self.headings.append(data)

    @property
    def text(self) -> str:
        """All that a reader sees, spaces made one."""
        return re.sub(r"\s+", " ", " ".join(self.texts))


def page_of(source: Source) -> Page:
    return Page(render(report_of(source)))


def test_a_finished_sweep_has_all_sections_and_its_answer_first(make_source: MakeSource) -> None:
    page = page_of(make_source(random_records(20)))
    assert page.headings == [
        "The answer", "Backbones compared", "Trials, best first", "What quality costs", "Learning curves",
        "Which parameters mattered", "Accuracy by class", "What is taken for what", "More from the same trials", "What training saw",
        "Where time and money went", "Failures", "Run it again",
    ]  # fmt: skip
    assert "The sweep is finished: 20 trials (12 stopped early, 4 failed)." in page.text


def test_the_answer_names_backbone_quality_and_settings(make_source: MakeSource) -> None:
    answer = report_of(make_source([record_of(0, 0.5, 0.75), record_of(1, 0.6)])).answer
    assert answer.sentence == "davit_tiny reaches 75.00 % top-1 with lr 0.001, layer_decay 0.8, augment.policy none."
    assert [(fact.name, fact.value, fact.note) for fact in answer.facts][:2] == [
        ("top-1", "75.00 %", "epoch 2 of 2"),
        ("macro F1", "75.00 %", ""),
    ]


@pytest.mark.parametrize(
    ("records", "changes", "sentence", "state"),
    [
        (
            [record_of(0, 0.5), record_of(1, 0.6, state=TrialState.RUNNING)],
            {"alive": True, "total": 8},
            "So far davit_tiny reaches 60.00 % top-1 with lr 0.001, layer_decay 0.8, augment.policy none.",
            "The sweep is running: 1 of 8 trials are done.",
        ),
        (
            [record_of(0, 0.5), record_of(1, 0.6, state=TrialState.RUNNING)],
            {"total": 8},
            "So far davit_tiny reaches 60.00 % top-1 with lr 0.001, layer_decay 0.8, augment.policy none.",
            "The sweep was stopped: 1 of 8 trials are done; `sweeper resume made` goes on.",
        ),
        (
            [record_of(at, state=TrialState.FAILED, failure=WRONG) for at in range(3)],
            {},
            "There is no answer: all 3 trials failed.",
            "The sweep is finished: 3 trials (3 failed).",
        ),
        (
            [record_of(0, 0.5)],
            {},
            "davit_tiny reaches 50.00 % top-1 with lr 0.001, layer_decay 0.8, augment.policy none.",
            "The sweep is finished: 1 trial.",
        ),
        ([], {"total": 8}, "There is no answer yet: no trial has finished an epoch.",
         "The sweep was stopped: 0 of 8 trials are done; `sweeper resume made` goes on."),
    ],
    ids=["running", "stopped", "failed only", "one trial", "nothing yet"],
)  # fmt: skip
def test_a_sweep_in_any_state_is_a_whole_page(
    make_source: MakeSource, records: list[Any], changes: dict[str, Any], sentence: str, state: str
) -> None:
    source = make_source(records, **changes)
    answer = report_of(source).answer
    assert (answer.sentence, answer.state) == (sentence, state)
    page = page_of(source)
    assert len(page.headings) == 13
    assert sentence in page.text


def test_failures_are_told_once_for_each_reason(make_source: MakeSource) -> None:
    records = [record_of(at, state=TrialState.FAILED, failure=WRONG) for at in range(3)]
    other = record_of(3, state=TrialState.FAILED, failure=Failure(reason="the worker died"))
    failures = report_of(make_source([*records, other])).failures
    assert [(group.reason, group.trials) for group in failures.groups] == [
        ("OutOfMemoryError: 16 GiB", (0, 1, 2)),
        ("the worker died", (3,)),
    ]
    assert "3 trials: OutOfMemoryError: 16 GiB" in page_of(make_source(records)).text


def test_a_loss_is_minimised(make_source: MakeSource) -> None:
    spec = spec_with(search={"trials": 2, "objective": "val_loss"})
    report = report_of(make_source([record_of(0, 0.5), record_of(1, 0.75)], spec=spec))
    assert report.answer.trial == 1
    assert "davit_tiny reaches 0.5000 val loss" in report.answer.sentence
    assert [point.trial for point in report.space.points] == [0, 1]  # the best last, above the others


def test_several_objectives_show_the_front_between_the_first_two(make_source: MakeSource) -> None:
    spec = spec_with(search={"trials": 3, "also": ["latency_ms"]})
    records = [record_of(at, value) for at, value in enumerate((0.5, 0.75, 0.6))]
    slow = records[2].model_copy(update={"epochs": (epoch_of(1, 0.6, latency_ms=90.0),)})
    tradeoff = report_of(make_source([*records[:2], slow], spec=spec)).tradeoff
    assert [(trade.trial, trade.on_front) for trade in tradeoff.trades] == [(1, True), (2, False), (0, True)]


def test_trials_that_break_a_constraint_are_no_answer(make_source: MakeSource) -> None:
    spec = spec_with(search={"trials": 1, "constraints": {"latency_ms": {"max": 1}}})
    answer = report_of(make_source([record_of(0, 0.5)], spec=spec)).answer
    assert answer.sentence == "There is no winner: every trial breaks a constraint of `search.constraints`."


def test_names_and_values_are_text_and_never_markup(make_source: MakeSource) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"
    record = record_of(0, 0.5, params={"backbone": "davit_tiny", "weights": evil})
    failed = record_of(1, state=TrialState.FAILED, failure=Failure(reason=evil, traceback=evil))
    page = page_of(make_source([record, failed, record_of(2, 0.6, params={"backbone": evil})]))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert evil in page.text


def test_the_page_asks_no_network(make_source: MakeSource) -> None:
    page = page_of(make_source(random_records(20)))
    asked = [
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href") and value and not value.startswith(("#", "data:"))
    ]
    assert asked == []
    styles = render(report_of(make_source(random_records(3))))
    assert "@import" not in styles
    assert "url(" not in styles


def test_a_password_is_not_shown(make_source: MakeSource) -> None:
    spec = spec_with(search={"trials": 1, "storage": "postgresql://anna:secret@db/sweeps"})
    page = render(report_of(make_source([record_of(0, 0.5)], spec=spec)))
    assert "secret" not in page
    assert "postgresql://db/sweeps" in page


def test_the_studys_figures_stand_beside_ours_on_its_images_only(make_source: MakeSource) -> None:
    assert report_of(make_source([record_of(0, 0.5)])).backbones.study == {}
    data = {"source": "inat2017", "root": "/data", "supercategory": "Fungi"}
    maxvit = record_of(1, 0.6, params={"backbone": "maxvit_tiny_rw_224", "lr": 1e-3})
    source = make_source([record_of(0, 0.5), maxvit], spec=spec_with(data=data))
    rows = report_of(source).backbones.rows
    assert [(row.backbone, row.study) for row in rows] == [("maxvit_tiny_rw_224", (0.7856,)), ("davit_tiny", (0.8093,))]
    assert "80.93 %" in page_of(source).text


def test_a_report_is_data_that_can_be_read_back(make_source: MakeSource) -> None:
    report = report_of(make_source(random_records(10)))
    assert Report.model_validate_json(report.model_dump_json()) == report


def test_a_thousand_trials_are_a_light_page_in_seconds(make_source: MakeSource) -> None:
    source = make_source(random_records(1000, epochs=12))
    before = time.process_time()
    page = render(report_of(source))
    assert time.process_time() - before < 10.0
    assert len(page.encode()) < 5_000_000
    assert page.count("<tr data-trial=") == 200
