"""A YAML file as plain values that remember where they stood, so that an error can name the line."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from sweeper.errors import SpecError
from sweeper.spec.naming import setting_path

Keys = tuple[str | int, ...]

_FREE_KEYS = {"space", "set", "points", "when"}
"""Mappings whose keys are setting names, which may hold dots themselves."""


class _Loader(yaml.SafeLoader):
    """YAML 1.2's numbers and truth values: `3e-5` is a number and `no` is a word."""


class _Dumper(yaml.SafeDumper):
    """Quotes the words that the loader would take for numbers."""


_REPLACED = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "float", "timestamp")}
_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag not in _REPLACED]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|false|True|False|TRUE|FALSE)$"), list("tTfF")
)
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d+\.\d*|\.\d+|\d+(?=[eE]))(?:[eE][-+]?\d+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$"),
    list("-+0123456789."),
)


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers

_NOT_YAML = (yaml.YAMLError, ValueError, KeyError, AttributeError, RecursionError)
"""What PyYAML raises of a text that it cannot read: explicit tags, endless numbers, a list that holds itself."""


def dump_yaml(values: dict[str, Any]) -> str:
    """Returns YAML text that `Document` reads back as equal values."""
    return yaml.dump(values, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


@dataclass
class Document:
    """The values of a file and, by key path, the line each stands on.

    Usage::

        document = Document.read(Path("davit.yaml"))
        document.override("search.trials=20")
        document.where(("search", "trials"))    # "--set search.trials=20"
    """

    name: str
    values: dict[str, Any]
    _places: dict[Keys, str] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path, *, what: str = "search space") -> Document:
        """Reads a file; `what` is what errors call its kind.

        Raises:
            SpecError: the file is missing, is no YAML, holds a key twice, or is no mapping.
        """
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise SpecError(f"Cannot read the {what} `{path}`: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise SpecError(f"Cannot read the {what} `{path}`: it is not UTF-8 text.") from error
        return cls.parse(text, name=str(path), what=what)

    @classmethod
    def parse(cls, text: str, *, name: str, what: str = "search space") -> Document:
        """Reads YAML text; `name` is what errors call it, and `what` its kind.

        Raises:
            SpecError: it is no YAML, holds a key twice, or is no mapping.
        """
        document = cls(name=name, values={})
        document._places[()] = f"{name}:1"
        try:
            values = document._read(text)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            raise SpecError(f"{name}:{line}: not valid YAML: {error.problem or error.context}.") from error
        except _NOT_YAML as error:
            raise SpecError(f"{name}: not valid YAML: {str(error) or type(error).__name__}.") from error
        if not isinstance(values, dict):
            raise SpecError(f"{name}: a {what} is a mapping such as `name: davit`, but the file holds none.")
        document.values = values
        return document

    def _read(self, text: str) -> Any:
        node = yaml.compose(text, Loader=_Loader)
        return None if node is None else self._build(node, ())

    def _build(self, node: yaml.Node, path: Keys) -> Any:
        if isinstance(node, yaml.MappingNode):
            mapping: dict[str, Any] = {}
            for key_node, value_node in node.value:
                key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else None
                line = key_node.start_mark.line + 1
                if key is None or key == "<<":
                    raise SpecError(f"{self.name}:{line}: a key must be a plain word.")
                if key in mapping:
                    raise SpecError(f"{self.name}:{line}: `{key}` stands here twice; keep one of them.")
                self._places[(*path, key)] = f"{self.name}:{line}"
                mapping[key] = self._build(value_node, (*path, key))
            return mapping
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._places[(*path, index)] = f"{self.name}:{item.start_mark.line + 1}"
            return [self._build(item, (*path, index)) for index, item in enumerate(node.value)]
        return _scalar(node)

    def where(self, path: Keys) -> str:
        """Returns `file:line` (or the `--set`) of the deepest part of `path` that the document holds."""
        while path not in self._places:
            path = path[:-1]
        return self._places[path]

    def override(self, assignment: str) -> None:
        """Applies one `--set a.b=value`; the value is YAML.

        Raises:
            SpecError: there is no `=`, the value is no YAML, or the path runs through a plain value.
        """
        dotted, equals, text = assignment.partition("=")
        place = f"--set {assignment}"
        if not equals or not dotted:
            raise SpecError(f"{place}: an override is `key=value`, as in `--set search.trials=20`.")
        try:
            value = Document(name=place, values={})._read(text)
        except (yaml.YAMLError, *_NOT_YAML) as error:
            raise SpecError(f"{place}: the value is not valid YAML: quote it.") from error
        keys = self._split(dotted.strip().split("."))
        current: Any = self.values
        for key in keys[:-1]:
            current = current.setdefault(key, {})
            if not isinstance(current, dict):
                raise SpecError(f"{place}: `{key}` is a plain value and has no `{keys[-1]}`.")
        if isinstance(value, dict) and isinstance(current.get(keys[-1]), dict) and "space" not in keys:
            value = {**current[keys[-1]], **value}
        current[keys[-1]] = value
        self._places = {path: at for path, at in self._places.items() if path[: len(keys)] != keys}
        for depth in range(1, len(keys) + 1):
            self._places.setdefault(keys[:depth], place)
        self._places[keys] = place

    def _split(self, parts: list[str]) -> tuple[str, ...]:
        """Cuts a dotted path into keys: under `space`, `augment.mixup` is one key."""
        keys: list[str] = []
        current: Any = self.values
        while parts:
            free = bool(keys) and keys[-1] in _FREE_KEYS
            length = next(
                (n for n in range(len(parts), 0, -1)
                 if (isinstance(current, dict) and ".".join(parts[:n]) in current)
                 or (free and setting_path(".".join(parts[:n])) is not None)),
                1,
            )  # fmt: skip
            keys.append(".".join(parts[:length]))
            parts = parts[length:]
            current = current.get(keys[-1]) if isinstance(current, dict) else None
        return tuple(keys)


def _scalar(node: yaml.Node) -> Any:
    try:
        return SafeConstructor().construct_object(node)
    except (ValueError, LookupError, AttributeError, TypeError) as error:  # PyYAML's own, of an explicit tag
        tag = node.tag.rsplit(":", 1)[-1]
        problem = f"`{node.value}` is not what its tag `!!{tag}` says"
        raise yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark) from error
