"""Our neighbourhood attention against one that is slow and obviously right, and against natten's own."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sweeper.backbones.neighborhood import neighborhood_attention

CASES = [
    # height, width, kernel, dilation
    pytest.param(7, 7, 7, 1, id="dense: the window is the map"),
    pytest.param(14, 14, 7, 2, id="dense: the window is the group"),
    pytest.param(14, 9, 5, 1, id="one tile"),
    pytest.param(23, 16, 3, 1, id="several tiles"),
    pytest.param(8, 12, 3, 2, id="dilation that divides the map"),
    pytest.param(13, 16, 3, 4, id="dilation that does not divide the map"),
    pytest.param(21, 8, 3, 2, id="several tiles a group, groups of two lengths"),
    pytest.param(6, 7, 1, 3, id="a window of one pixel"),
    pytest.param(9, 10, 4, 2, id="an even window"),
]


def window(position: int, length: int, *, kernel: int, dilation: int) -> tuple[list[int], list[int]]:
    """The positions that a position sees along one axis, and their offsets, counted in pixels of its group."""
    group, inner = position % dilation, position // dilation
    members = list(range(group, length, dilation))
    first = min(max(inner - kernel // 2, 0), len(members) - kernel)
    return members[first : first + kernel], [first + step - inner for step in range(kernel)]


def obviously_right(  # noqa: PLR0913 - as the operator
    q: Tensor, k: Tensor, v: Tensor, *, kernel: int, dilation: int, bias: Tensor | None
) -> Tensor:
    """One pixel after the other."""
    result = torch.zeros_like(q)
    batch, height, width, heads, dim = q.shape
    for y in range(height):
        rows, down = window(y, height, kernel=kernel, dilation=dilation)
        for x in range(width):
            columns, across = window(x, width, kernel=kernel, dilation=dilation)
            near = k[:, rows][:, :, columns].reshape(batch, -1, heads, dim)
            scores = torch.einsum("bhd,bnhd->bhn", q[:, y, x], near) / dim**0.5
            if bias is not None:
                at = [[(dy + kernel - 1, dx + kernel - 1) for dx in across] for dy in down]
                scores = scores + torch.stack([bias[:, i, j] for row in at for i, j in row], dim=1)
            values = v[:, rows][:, :, columns].reshape(batch, -1, heads, dim)
            result[:, y, x] = torch.einsum("bhn,bnhd->bhd", scores.softmax(-1), values)
    return result


def inputs(height: int, width: int, kernel: int, dtype: torch.dtype) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, height, width, 2, 4)] * 3 + [(2, 2 * kernel - 1, 2 * kernel - 1)]
    return [torch.randn(shape, generator=generator, dtype=dtype, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize(("height", "width", "kernel", "dilation"), CASES)
@pytest.mark.parametrize("biased", [True, False], ids=["bias", "no bias"])
def test_values_equal_those_of_the_reference(height: int, width: int, kernel: int, dilation: int, biased: bool) -> None:
    q, k, v, rpb = inputs(height, width, kernel, torch.float32)
    bias = rpb if biased else None
    ours = neighborhood_attention(q, k, v, kernel_size=kernel, dilation=dilation, bias=bias)
    torch.testing.assert_close(
        ours, obviously_right(q, k, v, kernel=kernel, dilation=dilation, bias=bias), atol=1e-5, rtol=0.0
    )


@pytest.mark.parametrize(("height", "width", "kernel", "dilation"), CASES)
def test_gradients_equal_those_of_the_reference(height: int, width: int, kernel: int, dilation: int) -> None:
    q, k, v, bias = inputs(height, width, kernel, torch.float64)
    weights = torch.randn(q.shape, dtype=torch.float64)
    ours = (neighborhood_attention(q, k, v, kernel_size=kernel, dilation=dilation, bias=bias) * weights).sum()
    theirs = (obviously_right(q, k, v, kernel=kernel, dilation=dilation, bias=bias) * weights).sum()
    pairs = zip(torch.autograd.grad(ours, [q, k, v, bias]), torch.autograd.grad(theirs, [q, k, v, bias]), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0.0)


@pytest.mark.parametrize(("height", "width", "dilation"), [(14, 14, 1), (14, 14, 2), (15, 17, 2)])
def test_without_a_bias_it_is_what_natten_computes(height: int, width: int, dilation: int) -> None:
    natten = pytest.importorskip("natten.functional", reason="natten is not installed")
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, height, width, 2, 16, generator=generator) for _ in range(3))
    with torch.no_grad():
        theirs = natten.na2d(q, k, v, kernel_size=7, dilation=dilation, backend="flex-fna")
        ours = neighborhood_attention(q, k, v, kernel_size=7, dilation=dilation)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_bf16_stays_close_to_float32() -> None:
    q, k, v, bias = inputs(15, 16, 3, torch.float32)
    exact = neighborhood_attention(q, k, v, kernel_size=3, dilation=2, bias=bias)
    rounded = neighborhood_attention(q.bfloat16(), k.bfloat16(), v.bfloat16(), kernel_size=3, dilation=2, bias=bias)
    assert rounded.dtype == torch.bfloat16
    torch.testing.assert_close(rounded.float(), exact, atol=0.05, rtol=0.05)


def test_it_is_laid_out_right_also_under_another_default_device() -> None:
    with torch.device("meta"):
        on_meta = torch.empty(1, 19, 19, 1, 4)
        assert neighborhood_attention(on_meta, on_meta, on_meta, kernel_size=3, dilation=2).shape == on_meta.shape
    q, k, v, bias = inputs(19, 19, 3, torch.float32)
    ours = neighborhood_attention(q, k, v, kernel_size=3, dilation=2, bias=bias)
    torch.testing.assert_close(ours, obviously_right(q, k, v, kernel=3, dilation=2, bias=bias), atol=1e-5, rtol=0.0)


def test_a_map_that_the_window_does_not_fit_into_is_refused() -> None:
    small = torch.zeros(1, 9, 20, 1, 4)
    with pytest.raises(
        ValueError,
        match=r"^a map must have at least 10 pixels a side for a kernel of 5 with dilation 2, but it has 9 x 20$",
    ):
        neighborhood_attention(small, small, small, kernel_size=5, dilation=2)


@pytest.mark.slow
def test_it_compiles_as_one_graph_forward_and_backward() -> None:
    q, k, v, bias = inputs(13, 16, 3, torch.float32)

    def attend(q: Tensor, k: Tensor, v: Tensor, bias: Tensor) -> Tensor:
        return neighborhood_attention(q, k, v, kernel_size=3, dilation=4, bias=bias)

    compiled = torch.compile(attend, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q, k, v, bias), attend(q, k, v, bias))
    (found,) = torch.autograd.grad(compiled(q, k, v, bias).square().sum(), [bias])
    (expected,) = torch.autograd.grad(attend(q, k, v, bias).square().sum(), [bias])
    torch.testing.assert_close(found, expected)
