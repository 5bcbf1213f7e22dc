"""Global covariance pooling: the matrix square root of the features' covariance is what describes an image.

iSQRT-COV: Li et al., "Towards Faster Training of Global Covariance Pooling Networks by Iterative Matrix Square
Root Normalization", 2018. The scaling eigen branch: Song et al., "On the Eigenvalues of Global Covariance Pooling
for Fine-grained Visual Recognition", 2022. Their code takes both from an eigendecomposition on the CPU in float64;
here the root is Newton and Schulz's iteration and the branch a matrix exponential, on the device, in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sweeper.backbones.heads.precision import in_float32


class CovariancePool(nn.Module):
    """Channels are reduced, their covariance over the tokens is taken, and the upper half of its root returned."""

    def __init__(self, features: int, *, channels: int, iterations: int, eigen_branch: bool) -> None:
        super().__init__()
        self.iterations = iterations
        self.eigen_branch = eigen_branch
        self.out_features = channels * (channels + 1) // 2
        self.reduce = nn.Linear(features, channels, bias=False)
        self.norm = nn.BatchNorm1d(channels)
        self.act = nn.ReLU()
        nn.init.kaiming_normal_(self.reduce.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns (B, channels x (channels + 1) / 2) of (B, N, C)."""
        reduced = self.act(self.norm(self.reduce(tokens).transpose(1, 2)))
        # A root amplifies errors of small eigenvalues: float32 whatever the model runs in.
        with in_float32(tokens.device):
            covariance = covariance_of(reduced.float())
            root = matrix_sqrt(covariance, iterations=self.iterations)
            if self.eigen_branch:
                root = scaled_by_small_eigenvalues(root, covariance)
            rows, columns = torch.triu_indices(root.shape[1], root.shape[1], device=root.device).unbind()
            return root[:, rows, columns]


def covariance_of(features: Tensor) -> Tensor:
    """Returns the covariance (B, C, C) of features (B, C, N) over their N positions."""
    centred = features - features.mean(dim=2, keepdim=True)
    return centred @ centred.transpose(1, 2) / features.shape[2]


def matrix_sqrt(matrix: Tensor, *, iterations: int) -> Tensor:
    """Returns an approximate square root of positive semi-definite matrices (B, C, C), by matrix products alone.

    The coupled iteration of Newton and Schulz converges for matrices of norm below 1, so the matrix is divided by
    its trace before and the root multiplied by the trace's root after. Five iterations are Li et al.'s choice.
    """
    size = matrix.shape[1]
    identity = torch.eye(size, dtype=matrix.dtype, device=matrix.device).expand_as(matrix)
    # An image of one colour has a covariance of zero.
    trace = matrix.diagonal(dim1=1, dim2=2).sum(dim=1)[:, None, None].clamp(min=torch.finfo(matrix.dtype).eps)
    root, inverse = matrix / trace, identity
    for _ in range(iterations):
        correction = 0.5 * (3.0 * identity - inverse @ root)
        root, inverse = root @ correction, correction @ inverse
    return root * trace.sqrt()


def scaled_by_small_eigenvalues(root: Tensor, covariance: Tensor) -> Tensor:
    """Returns Q (1 + |Q exp(-P)|) of a covariance P and its root Q, (B, C, C) each; |.| is the Frobenius norm.

    exp(-P) turns the order of the eigenvalues round, so the branch is large where small ones carry much. It has no
    parameters. (The published code divides a matrix by itself normalised, entry by entry, which is this norm.)
    """
    branch = root @ torch.linalg.matrix_exp(-covariance)
    norm: Tensor = torch.linalg.matrix_norm(branch)
    return root * (1.0 + norm[:, None, None])
