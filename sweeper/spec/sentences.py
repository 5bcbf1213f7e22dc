"""pydantic's findings as sentences: the rule, the value, the nearest right name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from sweeper.errors import nearest
from sweeper.spec.document import Keys
from sweeper.spec.space import PARAMETER_KINDS


def untagged(location: Keys) -> Keys:
    """Returns a pydantic error location without the steps that name a union's variant, which no file has."""
    found: Keys = ()
    for index, step in enumerate(location):
        before = found if len(found) == index else ()  # at most one tag stands in a location
        is_tag = (
            before in (("data",), ("search", "stop"), ("resources", "gpus_per_trial"))
            or (len(before) == 2 and before[0] == "space")
            or (len(before) == 4 and before[0] == "overrides" and before[2] == "space")
        )
        if not is_tag:
            found = (*found, step)
    return found


def sentence(error: ErrorDetails, *, root: type[BaseModel] | None = None) -> str:
    """Returns one sentence for one pydantic error.

    Args:
        error: an item of `ValidationError.errors()`.
        root: the model that was validated; lets an unknown key be compared with the known ones.
    """
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    last = str(error["loc"][-1]) if error["loc"] else ""
    match kind:
        case "extra_forbidden":
            known = tuple(_known_keys(root, error["loc"][:-1])) if root is not None else ()
            listed = "; known are " + ", ".join(f"`{name}`" for name in known) + "." if known else "."
            return f"unknown key `{last}`{nearest(last, known) or listed}"
        case "missing":
            return f"`{last}` is required."
        case "union_tag_not_found" if "discriminator" in context and "_kind" in str(context["discriminator"]):
            return _parameter_kind(value)
        case "union_tag_not_found":
            return f"`{str(context['discriminator']).strip(chr(39))}` is required."
        case "union_tag_invalid":
            wrong = str(context["tag"])
            expected = [name.strip("' ") for name in str(context["expected_tags"]).split(",")]
            return _one_of(wrong, expected)
        case "literal_error":
            expected = [part.strip("' ") for part in str(context["expected"]).replace(" or ", ", ").split(",")]
            return _one_of(value, expected)
        case "value_error":
            text = str(context["error"])
            return f"{text}." if "but got" in text or "needs" in text else f"{text}, but got {_shown(value)}."
        case _:
            rule = (
                error["msg"]
                .partition(", unable")[0]
                .replace("Input should be", "must be")
                .replace("String should", "must")
            )
            rule = rule.replace("Tuple should have", "must have").replace("a valid tuple", "a list")
            return f"{rule[0].lower()}{rule[1:]}, but got {_shown(value)}."


def _one_of(wrong: Any, expected: list[str]) -> str:
    if len(expected) == 1:
        return f"must be `{expected[0]}` or a number, but got {_shown(wrong)}."
    listed = ", ".join(f"`{name}`" for name in expected)
    return f"must be one of {listed}, but got {_shown(wrong)}{nearest(str(wrong), expected) or '.'}"


def _parameter_kind(value: Any) -> str:
    listed = ", ".join(f"`{word}`" for word in PARAMETER_KINDS)
    if not isinstance(value, dict):
        return f"a parameter is a mapping with one of {listed}, but got {_shown(value)}; one value is `{{fixed: ...}}`."
    words = [str(word) for word in value if word != "when"]
    hint = nearest(words[0], PARAMETER_KINDS) if words else ""
    return (
        f"a parameter has exactly one of {listed}, but got {', '.join(f'`{w}`' for w in words) or 'none'}{hint or '.'}"
    )


def _shown(value: Any) -> str:
    text = repr(value) if isinstance(value, (list, tuple, dict)) else str(value)
    return f"`{text if len(text) <= 60 else text[:57] + '...'}`"


def _known_keys(root: type[BaseModel], location: Keys) -> Iterator[str]:
    """Yields the keys allowed at `location`: of every model that may stand there."""
    models = [root]
    for step in location:
        inner: list[type[BaseModel]] = []
        for model in models:
            named = [f for name, f in model.model_fields.items() if step in (name, f.alias)]
            inner += [found for field in named for found in _models_in(field.annotation)]
        # A step that is no field is a union's tag or a free key: the models stay, tags narrow them.
        tagged = [model for model in models if step in {f.alias or name for name, f in model.model_fields.items()}]
        tagged += [model for model in models if str(step) in str(model.model_fields.get("source", ""))]
        models = inner or tagged or models
    yield from dict.fromkeys(f.alias or name for model in models for name, f in model.model_fields.items())


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
