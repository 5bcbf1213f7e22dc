"""A model is cut in two where its frozen part ends, so that what the frozen part gives can be kept.

The model's forward pass is traced (torch.fx). A module whose parameters all lie on one side of the cut is one step of
the trace, whatever it does inside; only a module with parameters on both sides, or one that holds all that trains, is
looked into. The two halves share the model's modules: training, freezing and averaging go on as before.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import torch
from timm.layers import get_notrace_functions
from torch import Tensor, fx, nn

from sweeper.errors import BackboneError

_REFUSALS = (AttributeError, IndexError, KeyError, NotImplementedError, RuntimeError, TypeError, ValueError)
"""What a trace, or a half that does not run by itself, raises."""
_RANDOM: Final = re.compile(r"drop|bernoulli|multinomial|^rand|^normal_?$|^uniform_?$")
"""Names of functions and methods that give something else every time."""


@dataclass(frozen=True, eq=False)
class Cut:
    """The two halves of a model, in the mode (train or eval) that the model was in."""

    name: str
    """The model's class."""
    prefix: fx.GraphModule
    """Images (B, 3, S, S) to one or more features (B, ...), a tuple."""
    rest: fx.GraphModule
    """The features, and metadata (B, 7) behind them where the model was cut for it, to scores (B, C)."""

    @torch.no_grad()
    def check(self, images: Tensor, *metadata: Tensor) -> None:
        """Passes a batch through both halves, on the meta device if it lies there.

        Raises:
            BackboneError: a half does not run, or what the first gives has not one row for each image.
        """
        try:
            features: tuple[object, ...] = self.prefix(images)
            given = [tuple(one.shape) if isinstance(one, Tensor) else type(one).__name__ for one in features]
            if any(not isinstance(one, tuple) or one[:1] != images.shape[:1] for one in given):
                raise _uncuttable(self.name, f"its frozen stages give {given} for {len(images)} images")
            self.rest(*features, *metadata)
        except _REFUSALS as error:
            raise _uncuttable(self.name, error) from error


def cut(model: nn.Module, frozen: Collection[str], *, metadata: bool = False) -> Cut:
    """Cuts `model` behind all that depends on the images and the frozen parameters alone and is not random.

    Args:
        model: its forward pass takes images, and perhaps metadata.
        frozen: names of the parameters before the cut; what holds no others must be in eval mode when it runs.
        metadata: whether metadata will be given; it goes into the second half.

    Raises:
        BackboneError: the model cannot be traced, or its second half needs the images themselves.
    """
    names = frozenset(frozen)
    try:
        graph = _Tracer(model, names).trace(model, _defaults(model, metadata=metadata))
    except _REFUSALS as error:
        raise _uncuttable(type(model).__name__, error) from error
    early = _early(graph, model, names)
    rows = _rows(early)
    # Sizes and tables are worked out once more in the second half: kept, they would be those of one batch.
    again: set[fx.Node] = set()
    for node in reversed(early):
        if node not in rows and any(user in again or user not in early for user in node.users):
            again.add(node)
    border = [node for node in rows if any(user in again or user not in early for user in node.users)]
    if not border or any(node.op == "placeholder" for node in border):
        raise _uncuttable(type(model).__name__, "what follows its frozen stages needs the images themselves")
    late = [node for node in graph.nodes if node in again or node not in early]
    return Cut(
        name=type(model).__name__,
        prefix=_half(model, list(early), inputs=[], outputs=border),
        rest=_half(model, late, inputs=border, outputs=None),
    )


class _Tracer(fx.Tracer):
    """Looks only into modules with parameters on both sides, and into those that hold all that trains."""

    def __init__(self, model: nn.Module, frozen: frozenset[str]) -> None:
        # Functions that timm marks as steps of their own: they decide by sizes, which a trace does not have.
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._frozen = frozen
        self._trained = {name for name, _ in model.named_parameters()} - frozen

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step of the trace."""
        names = {f"{module_qualified_name}.{name}" for name, _ in m.named_parameters()}
        if names and names >= self._trained:
            # Such as a head, whose pooling stands before the classifier and need not be done again.
            return any(True for _ in m.parameters(recurse=False))
        return names <= self._frozen or not names & self._frozen


def _defaults(model: nn.Module, *, metadata: bool) -> dict[str, Any]:
    """Returns the arguments that the forward pass can do without, as it then takes them.

    Traced as unknown values they would send a ViT's tokens through the branch for attention masks.
    """
    parameters = inspect.signature(model.forward).parameters.values()
    optional = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    return {name: value for name, value in optional.items() if not (metadata and name == "metadata")}


def _early(graph: fx.Graph, model: nn.Module, frozen: frozenset[str]) -> dict[fx.Node, None]:
    """Returns, in order, the steps that depend on the images and frozen parameters alone, and are not random."""
    early: dict[fx.Node, None] = {}
    images = next(node for node in graph.nodes if node.op == "placeholder")
    trained = {name for name, _ in model.named_parameters()} - frozen
    for node in graph.nodes:
        if node.op == "call_module":
            steady = _is_steady(model.get_submodule(node.target), node.target, frozen)
        elif node.op == "get_attr":
            steady = node.target not in trained
        elif node.op in ("call_function", "call_method"):
            name = getattr(node.target, "__name__", str(node.target))
            steady = not _RANDOM.search(name) and not node.kwargs.get("dropout_p")
        else:
            steady = node is images
        if steady and all(source in early for source in node.all_input_nodes):
            early[node] = None
    return early


def _is_steady(module: nn.Module, name: str, frozen: frozenset[str]) -> bool:
    """Whether a module gives the same for the same input, epoch after epoch."""
    if any(True for _ in module.parameters()):
        return all(f"{name}.{inner}" in frozen for inner, _ in module.named_parameters())
    # Statistics without parameters, and dropout, whatever the mode now: both halves of a copy must fit the first's.
    moves = any(True for _ in module.buffers()) or "drop" in type(module).__name__.lower()
    return not moves or getattr(module, "p", getattr(module, "drop_prob", None)) == 0.0


def _rows(early: Collection[fx.Node]) -> dict[fx.Node, None]:
    """Returns, in order, the steps whose values differ from image to image; not sizes, nor what follows from them."""
    rows: dict[fx.Node, None] = {}
    for node in early:
        if node.op == "placeholder" or (not _is_lookup(node) and any(one in rows for one in node.all_input_nodes)):
            rows[node] = None
    return rows


def _is_lookup(node: fx.Node) -> bool:
    """Whether a step asks a tensor for its size or type."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel")
    return node.target is getattr and node.args[1] in ("shape", "ndim", "dtype", "device")


def _half(
    model: nn.Module, steps: list[fx.Node], *, inputs: list[fx.Node], outputs: list[fx.Node] | None
) -> fx.GraphModule:
    """Returns the steps as a module of their own; without `outputs` it gives what the whole gives."""
    half = fx.Graph()
    known = {node: half.placeholder(f"features_{number}") for number, node in enumerate(inputs)}
    for node in steps:
        known[node] = half.node_copy(node, known.__getitem__)
    if outputs is not None:
        half.output(tuple(known[node] for node in outputs))
    half.lint()
    return fx.GraphModule(model, half)


def _uncuttable(name: str, reason: str | Exception) -> BackboneError:
    lines = str(reason).splitlines() or [type(reason).__name__]
    return BackboneError(
        f"`cache_features` needs a backbone that can be cut behind its frozen stages, but `{name}` cannot ({lines[0]});"
        " set it to 0, or choose another `freeze_depth`."
    )
