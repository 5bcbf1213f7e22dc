"""Extra blocks between backbone and head; at the start they change nothing."""

from __future__ import annotations

from timm.layers import Mlp
from timm.models.vision_transformer import Block as AttentionBlock
from torch import Tensor, nn

from sweeper.spec.head import HeadSpec

_HEAD_DIM = 64
_MLP_RATIO = 4
_BRANCH_ENDS = ("attn.proj.", "mlp.fc2.")


class MlpBlock(nn.Module):
    """A pre-norm MLP beside a shortcut, over tokens (B, N, C)."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(features)
        self.mlp = Mlp(features, hidden_features=_MLP_RATIO * features)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (B, N, C)."""
        mixed: Tensor = self.mlp(self.norm(tokens))
        return tokens + mixed


def blocks_of(head: HeadSpec, *, features: int) -> nn.Sequential:
    """Returns the extra blocks of a head, over tokens (B, N, features); perhaps none.

    The last layer of each branch starts at zero: what the pretrained backbone gives reaches the head as it is, and
    the blocks grow into it.
    """
    blocks: list[nn.Module] = []
    for _ in range(head.blocks):
        if head.block_type == "mlp":
            block: nn.Module = MlpBlock(features)
        else:
            block = AttentionBlock(features, num_heads=_num_heads(features), qkv_bias=True)
        for name, parameter in block.named_parameters():
            if name.startswith(_BRANCH_ENDS):
                nn.init.zeros_(parameter)
        blocks.append(block)
    return nn.Sequential(*blocks)


def _num_heads(features: int) -> int:
    """Returns about a head for every 64 features; their number divides the features."""
    wanted = max(1, features // _HEAD_DIM)
    return next(heads for heads in range(wanted, 0, -1) if features % heads == 0)
