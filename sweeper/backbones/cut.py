"""A model is cut in two where its frozen part ends, so that what the frozen part gives can be kept.

The model's forward pass is traced (torch.fx). A module whose parameters all lie on one side of the cut is one step of
the trace, whatever it does inside; only what has parameters on both sides is looked into. The two halves share the
model's modules: training, freezing and averaging go on as before.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

from timm.layers import get_notrace_functions
from torch import fx, nn

from sweeper.errors import BackboneError


@dataclass(frozen=True, eq=False)
class Cut:
    """The two halves of a model."""

    prefix: fx.GraphModule
    """Images (B, 3, S, S) to one or more features (B, ...), a tuple."""
    rest: fx.GraphModule
    """The features, and metadata (B, 7) behind them where the model was traced with it, to scores (B, C)."""


def cut(model: nn.Module, frozen: Collection[str], *, metadata: bool = False) -> Cut:
    """Cuts `model` behind all that depends on no other parameters than the frozen ones.

    Args:
        model: the forward pass takes images, and perhaps metadata.
        frozen: names of the parameters before the cut.
        metadata: whether metadata will be given; it goes into the second half.

    Raises:
        BackboneError: the model cannot be traced, or what its halves exchange cannot be kept.
    """
    try:
        graph = _Tracer(frozenset(frozen)).trace(model, None if metadata else _no_metadata(model))
    except (TypeError, ValueError, RuntimeError, AttributeError, NotImplementedError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise _uncuttable(model, reason) from error
    early = _early(graph, model, frozenset(frozen))
    late = [node for node in graph.nodes if node not in early]
    # Sizes and constants are looked up once more in the second half: kept, they would be those of one batch.
    again = _sources(late, lambda node: node in early and (_is_size(node) or node.op == "get_attr"))
    border = _sources([*again, *late], lambda node: node in early and node not in again)
    if not border or any(node.op == "placeholder" for node in border):
        raise _uncuttable(model, "its second half needs more of the first than features")
    return Cut(
        prefix=_half(model, [node for node in graph.nodes if node in early], inputs=[], outputs=border),
        rest=_half(model, [node for node in graph.nodes if node in again or node in late], inputs=border, outputs=None),
    )


class _Tracer(fx.Tracer):
    """Looks only into modules with parameters on both sides."""

    def __init__(self, frozen: frozenset[str]) -> None:
        # Functions that timm marks as steps of their own: they decide by sizes, which a trace does not have.
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._frozen = frozen

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        """Whether a module is one step of the trace."""
        sides = {f"{module_qualified_name}.{name}" in self._frozen for name, _ in m.named_parameters()}
        return len(sides) < 2


def _no_metadata(model: nn.Module) -> dict[str, Any] | None:
    takes = "metadata" in model.forward.__code__.co_varnames
    return {"metadata": None} if takes else None


def _early(graph: fx.Graph, model: nn.Module, frozen: frozenset[str]) -> set[fx.Node]:
    """Returns the steps that depend on the images and frozen parameters alone, and are not random."""
    early: set[fx.Node] = set()
    images = next(node for node in graph.nodes if node.op == "placeholder")
    constants = frozen | {name for name, _ in model.named_buffers()}
    for node in graph.nodes:
        if node.op == "call_module":
            steady = _is_steady(model.get_submodule(node.target), node.target, frozen)
        elif node.op == "get_attr":
            steady = node.target in constants
        else:
            steady = node is images or node.op in ("call_function", "call_method")
        if steady and all(source in early for source in node.all_input_nodes):
            early.add(node)
    return early


def _is_steady(module: nn.Module, name: str, frozen: frozenset[str]) -> bool:
    """Whether a module gives the same for the same input, epoch after epoch."""
    if any(True for _ in module.parameters()):
        return all(f"{name}.{inner}" in frozen for inner, _ in module.named_parameters())
    # Statistics without parameters, and dropout, whatever the mode now: both halves of a copy must fit the first's.
    moves = any(True for _ in module.buffers()) or "drop" in type(module).__name__.lower()
    return not moves or getattr(module, "p", getattr(module, "drop_prob", None)) == 0.0


def _sources(nodes: Iterable[fx.Node], wanted: Callable[[fx.Node], bool]) -> list[fx.Node]:
    """Returns the wanted steps that the given ones depend on, directly or through other wanted ones."""
    found: dict[fx.Node, None] = {}
    waiting = list(nodes)
    while waiting:
        for source in waiting.pop().all_input_nodes:
            if wanted(source) and source not in found:
                found[source] = None
                if _is_size(source):
                    waiting.append(source)
    return list(found)


def _is_size(node: fx.Node) -> bool:
    """Whether a step gives a size and not a tensor."""
    if node.op == "call_method":
        return node.target in ("size", "dim", "numel")
    return node.op == "call_function" and (node.target is getattr or any(map(_is_size, node.all_input_nodes)))


def _half(
    model: nn.Module, steps: list[fx.Node], *, inputs: list[fx.Node], outputs: list[fx.Node] | None
) -> fx.GraphModule:
    """Returns the steps as a module of their own; without `outputs` it gives what the whole gives."""
    half = fx.Graph()
    known = {node: half.placeholder(f"features_{number}") for number, node in enumerate(inputs)}
    for node in steps:
        if node.op == "placeholder" and not node.users:
            continue  # metadata that the trace was told is not there
        known[node] = half.node_copy(node, known.__getitem__)
    if outputs is not None:
        half.output(tuple(known[node] for node in outputs))
    half.lint()
    return fx.GraphModule(model, half)


def _uncuttable(model: nn.Module, reason: str) -> BackboneError:
    return BackboneError(
        f"`cache_features` needs a backbone that can be cut behind its frozen stages, but `{type(model).__name__}` "
        f"cannot ({reason}); set it to 0, or choose another `freeze_depth`."
    )
