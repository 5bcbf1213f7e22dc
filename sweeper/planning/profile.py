"""What a phase of a trial does to one image, counted on torch's meta device: no memory, no arithmetic, no weights.

The model is built, frozen and cut exactly as the trial does it, and a small batch passes through it forward and
backward while every operation is seen. So whatever a backbone is made of is counted, neighbourhood attention too,
and frozen stages neither keep activations nor cost a backward pass.
"""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import torch
import torch.nn.functional as F
from pydantic import BaseModel, ConfigDict
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only
from torch.utils.flop_counter import flop_registry

from sweeper.backbones import Backbone, build_backbone, with_lora
from sweeper.backbones.cut import cut
from sweeper.errors import BackboneError
from sweeper.spec.trial import TrialConfig
from sweeper.trial.features import frozen_parameters, is_cached
from sweeper.trial.optimizer import create_optimizer
from sweeper.trial.phases import Phase

_BATCH: Final = 4
"""Images that pass through; batch norm needs more than one, and all that is counted is a multiple."""
_aten = torch.ops.aten


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Work(_Value):
    """Arithmetic and memory traffic of one image."""

    flops: float = 0.0
    """Multiplications and additions, counted as two operations each."""
    bytes: float = 0.0
    """What all operations read and write."""


class PhaseProfile(_Value):
    """What one phase asks of a machine."""

    parameters: int
    trained: int
    """Parameters that train in this phase."""
    state_bytes: int
    """Weights, buffers, the optimiser's state and the weights' average: what lies in memory all the time."""
    gradient_bytes: int
    """Gradients of all that trains, and what the optimiser needs beside them in its step."""
    activation_bytes: float
    """Of one image: the most that lies in memory besides the above, in training."""
    forward: Work
    backward: Work
    """Of a training step; also for what passes through the frozen stages if features are kept."""
    prefix: Work
    """Of the frozen stages whose features are kept; nothing where none are."""
    feature_bytes: float
    """Kept on disk for one view of one image."""


def profile_phase(phase: Phase, *, num_classes: int, bf16: bool) -> PhaseProfile:
    """Counts what `phase` does; each architecture with each freeze depth is looked at once a process.

    Args:
        phase: of a trial.
        num_classes: size of the head.
        bf16: whether forward passes run in bf16 (torch.autocast).

    Raises:
        BackboneError: the backbone cannot be built as asked, or does something that needs values.
    """
    train, config = phase.config.train, phase.config
    counted = type(train)(
        freeze_depth=train.freeze_depth, tune=train.tune, lora_rank=train.lora_rank, optimizer=train.optimizer,
        cache_features=min(train.cache_features, 1), drop_path=min(train.drop_path, 0.1),
        ema_decay=None if train.ema_decay is None else 0.5,
    )  # fmt: skip
    data = config.data.model_copy(update={"store_size": None})
    plain = config.model_copy(update={"train": counted, "data": data, "augment": type(config.augment)(), "seed": 0})
    try:
        return _profile(plain.model_dump_json(), phase.last_norm, num_classes, bf16)
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise BackboneError(
            f"What a trial costs is counted on the meta device, but `{config.backbone}` does not run there ({reason}); "
            "its trials can run, but not be planned."
        ) from error


@lru_cache(maxsize=512)
def _profile(config_json: str, last_norm: bool, num_classes: int, bf16: bool) -> PhaseProfile:
    config = TrialConfig.model_validate_json(config_json)
    phase, train = Phase(1, config, last_norm=last_norm), config.train
    with torch.device("meta"):
        backbone = build_backbone(config, num_classes=num_classes, weights=None)
        if train.tune == "lora":
            backbone = with_lora(backbone, config)
        backbone.freeze(train.freeze_depth, tune=train.tune, last_norm=last_norm)
        return _passed_through(backbone, phase, bf16=bf16)


def _passed_through(backbone: Backbone, phase: Phase, *, bf16: bool) -> PhaseProfile:
    model = backbone.model
    inputs: tuple[Tensor, ...] = (torch.empty(_BATCH, 3, backbone.image_size, backbone.image_size),)
    metadata = (torch.empty(_BATCH, 7),) if backbone.takes_metadata else ()
    network: Callable[..., Tensor] = model
    prefix, feature_bytes = Work(), 0.0
    if is_cached(phase):
        backbone.eval()
        halves = cut(model, frozen_parameters(backbone, phase), metadata=bool(metadata))
        with torch.no_grad(), _Recorder(model) as seen:
            inputs = halves.prefix(*inputs)
        prefix, network = seen.work(), halves.rest
        feature_bytes = sum(one.nbytes for one in inputs) / _BATCH / (2 if bf16 else 1)
    inputs = (*inputs, *metadata)
    backbone.train()
    forward, backward, peak = _step(network, model, inputs, bf16=bf16)
    state, gradients = _optimizer_bytes(backbone, phase)
    weights = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
    sizes = [(one.numel(), one.requires_grad) for one in model.parameters()]
    return PhaseProfile(
        parameters=sum(size for size, _ in sizes),
        trained=sum(size for size, trains in sizes if trains),
        state_bytes=weights * (1 if phase.config.train.ema_decay is None else 2) + state,
        gradient_bytes=gradients,
        activation_bytes=peak / _BATCH,
        forward=forward,
        backward=backward,
        prefix=prefix,
        feature_bytes=feature_bytes,
    )


def _step(
    network: Callable[..., Tensor], model: nn.Module, inputs: tuple[Tensor, ...], *, bf16: bool
) -> tuple[Work, Work, int]:
    """Returns the work of a forward and of a backward pass, and the most bytes that lay in memory on the way."""
    with _Recorder(model) as seen:
        with _AsOnDevice(bf16=bf16):
            logits = network(*inputs)
        forward = seen.work()
        # Gradients of parameters are counted by themselves: let go of, they do not count here.
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        hooks = [
            parameter.register_post_accumulate_grad_hook(_drop_gradient)  # type: ignore[no-untyped-call]  # likewise
            for parameter in trained
        ]
        logits.float().sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it unannotated
        for hook in hooks:
            hook.remove()
        both = seen.work()
    return forward, Work(flops=both.flops - forward.flops, bytes=both.bytes - forward.bytes), seen.peak


def _drop_gradient(parameter: Tensor) -> None:
    parameter.grad = None


def _optimizer_bytes(backbone: Backbone, phase: Phase) -> tuple[int, int]:
    """Returns the bytes of the optimiser's state, and those of the gradients with what its step needs besides."""
    optimizer = create_optimizer(backbone, phase.config.train)
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    gradients = sum(parameter.nbytes for parameter in trained)
    for parameter in trained:
        parameter.grad = torch.empty_like(parameter)
    try:
        with _Recorder(backbone.model, *(one.grad for one in trained if one.grad is not None)) as seen:
            optimizer.step()
    except (RuntimeError, NotImplementedError):  # one that looks at values, which there are none of here
        return 2 * gradients, 2 * gradients  # two moments, as Adam
    tensors = {id(one): one for one in tree_leaves(list(optimizer.state.values())) if isinstance(one, Tensor)}
    state = sum(one.nbytes for one in tensors.values())
    return state, gradients + max(0, seen.peak - state)


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call] # torch leaves it unannotated
    """Sees every operation: its arithmetic, what it reads and writes, and how many bytes are alive."""

    def __init__(self, model: nn.Module, *others: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call] # likewise
        self.peak = 0
        self._live = 0
        self._flops = 0.0
        self._bytes = 0.0
        tensors = (*model.parameters(), *model.buffers(), *others)
        self._known = {tensor.untyped_storage()._cdata for tensor in tensors}

    def work(self) -> Work:
        """Returns the work seen so far, of one image."""
        return Work(flops=self._flops / _BATCH, bytes=self._bytes / _BATCH)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        given = [one for one in tree_leaves((args, kwargs)) if isinstance(one, Tensor)]
        made = [one for one in tree_leaves(out) if isinstance(one, Tensor)]
        self._flops += _flops(func, args, kwargs or {}, out)
        if not func.is_view:
            self._bytes += sum(one.nbytes for one in (*given, *made))
        for tensor in made:
            self._follow(tensor.untyped_storage())
        return out

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key not in self._known:
            self._known.add(key)
            self._live += size
            self.peak = max(self.peak, self._live)
            weakref.finalize(storage, self._forget, key, size)

    def _forget(self, key: int, size: int) -> None:
        self._known.discard(key)
        self._live -= size


def _flops(func: Any, args: Any, kwargs: Any, out: Any) -> float:
    packet = func._overloadpacket
    if packet is _aten.convolution_backward:
        # torch's own count takes a grouped convolution's backward pass for a dense one's.
        gradient, _, weight, *_, mask = args
        one_side: float = 2.0 * len(gradient) * math.prod(gradient.shape[2:]) * weight.numel()
        return one_side * float(sum(mask[:2]))
    if packet is _aten._scaled_dot_product_flash_attention_for_cpu:
        return 2.0 * _scores(*args[:2])
    if packet is _aten._scaled_dot_product_flash_attention_for_cpu_backward:
        return 5 * _scores(*args[1:3])  # the scores once more, and four products
    counter = flop_registry.get(packet)
    return float(counter(*args, **kwargs, out_val=out)) if counter else 0.0


def _scores(query: Tensor, key: Tensor) -> float:
    """Returns the operations of one product of all queries with all keys."""
    return 2.0 * query.numel() * key.shape[-2]


class _AsOnDevice(TorchFunctionMode):
    """Lets meta tensors take the ways that tensors on a device take.

    Attention keeps no scores, unless their bias trains (as torch's kernel for CPUs); with bf16, products are in
    bf16, and norms and softmax in fp32, as under torch.autocast.
    """

    _HALF: Final = frozenset({
        F.linear, F.conv1d, F.conv2d, F.conv3d, F.scaled_dot_product_attention, torch.conv1d, torch.conv2d,
        torch.matmul, torch.bmm, torch.mm, torch.addmm, torch.baddbmm, Tensor.matmul, Tensor.__matmul__,
    })  # fmt: skip
    _FULL: Final = frozenset({F.layer_norm, F.group_norm, F.softmax, torch.softmax, Tensor.softmax, torch.layer_norm})

    def __init__(self, *, bf16: bool) -> None:
        super().__init__()
        self._bf16 = bf16

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if self._bf16 and (func in self._HALF or func in self._FULL):
            dtype = torch.bfloat16 if func in self._HALF else torch.float32

            def cast(tensor: Tensor) -> Tensor:
                return tensor.to(dtype) if tensor.is_floating_point() else tensor

            args, kwargs = tree_map_only(Tensor, cast, (args, kwargs))
        if func is F.scaled_dot_product_attention:
            return _attention(*args, **kwargs)
        return func(*args, **kwargs)


def _attention(  # noqa: PLR0913 - the signature of torch's
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    **others: Any,
) -> Tensor:
    bias_trains = attn_mask is not None and attn_mask.requires_grad
    if query.ndim != 4 or dropout_p or bias_trains or others.get("enable_gqa"):
        given = {"attn_mask": attn_mask, "dropout_p": dropout_p, "is_causal": is_causal, **others}
        return F.scaled_dot_product_attention(query, key, value, **given)
    scale = others.get("scale")
    attended: Tensor = _aten._scaled_dot_product_flash_attention_for_cpu(
        query, key, value, dropout_p, is_causal, attn_mask=attn_mask, scale=scale
    )[0]
    return attended
