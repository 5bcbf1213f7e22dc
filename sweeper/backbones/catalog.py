"""What timm knows of a model name, before anything is built."""

from __future__ import annotations

from dataclasses import dataclass

import timm
from timm.models import (
    get_arch_pretrained_cfgs,
    get_pretrained_cfg,
    is_model,
    is_model_pretrained,
    split_model_name_tag,
)

from sweeper.errors import BackboneError, nearest


@dataclass(frozen=True)
class CatalogEntry:
    """One model of timm's registry with its pretrained tag."""

    name: str
    """`architecture.tag`; the bare architecture where timm has no tag for it."""
    pretrained: bool
    """Whether timm knows of pretrained weights under this tag."""
    hub_id: str | None
    """Repository of the weights on the Hugging Face hub, perhaps with `@revision`."""
    hub_filename: str | None
    """Weights file in that repository where it is not the usual one."""
    url: str | None
    """Where the weights were first published."""
    licence: str | None
    image_size: int
    """Side of the images of the pretraining, in pixels."""
    fixed_image_size: bool
    """Whether the image size is an argument of the constructor (`img_size`) and fixed from then on."""


def look_up(name: str) -> CatalogEntry:
    """Returns what timm knows of `name`, a model with or without its pretrained tag.

    Raises:
        BackboneError: no such model, or no such tag; names what is close.
    """
    architecture, tag = split_model_name_tag(name)
    tagged = sorted(get_arch_pretrained_cfgs(architecture))
    if not is_model(architecture) or not tagged:
        known = [*timm.list_models(), *timm.list_pretrained()]
        raise BackboneError(f"A backbone must be a timm model, but `{name}` is none{_hint(name, known)}")
    if tag and name not in tagged:
        raise BackboneError(
            f"`{architecture}` has no pretrained tag `{tag}`; write one of "
            + ", ".join(f"`{known}`" for known in tagged)
            + f", or `{architecture}` for the usual one."
        )
    cfg = get_pretrained_cfg(name)
    return CatalogEntry(
        name=f"{architecture}.{cfg.tag}" if cfg.tag else architecture,
        pretrained=bool(cfg.has_weights),
        hub_id=cfg.hf_hub_id,
        hub_filename=cfg.hf_hub_filename,
        url=cfg.url or None,
        licence=cfg.license,
        image_size=int(cfg.input_size[-1]),
        fixed_image_size=bool(cfg.fixed_input_size),
    )


def has_fixed_size(name: str) -> bool:
    """Whether a backbone is built for images of one size and takes no others.

    Raises:
        BackboneError: as `look_up`.
    """
    return look_up(name).fixed_image_size


def pretrained_names(name: str) -> tuple[str, ...]:
    """Returns `architecture.tag` for every tag of the architecture of `name` that has weights."""
    return tuple(sorted(tagged for tagged in get_arch_pretrained_cfgs(name) if is_model_pretrained(tagged)))


def _hint(name: str, known: list[str]) -> str:
    return nearest(name, known) or "; `timm.list_models()` lists them."
