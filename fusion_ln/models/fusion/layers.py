"""Layers that fusion heads are made of: from tokens to one vector per modality, or to one sequence, and attention."""

import torch
from torch import Tensor, nn

from fusion_ln.models.fusion.base import TripletShape
from fusion_ln.settings.fusion import HeadSettings


class Projection(nn.Module):
    """Each modality's tokens, normalised and projected to the head's width, and the clinical columns as one token."""

    def __init__(self, shape: TripletShape, width: int) -> None:
        super().__init__()
        self.pictures = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(shape.n_features), nn.Linear(shape.n_features, width))
            for _ in range(shape.n_modalities)
        )
        self.clinical = nn.Linear(shape.n_clinical, width) if shape.n_clinical else None

    def forward(self, tokens: Tensor, clinical: Tensor) -> tuple[Tensor, Tensor]:
        """Project (B, M, ..., D) and (B, K).

        Returns:
            Tokens (B, M, ..., width) and clinical tokens, one or none (B, 0|1, width).
        """
        projected = torch.stack([project(tokens[:, m]) for m, project in enumerate(self.pictures)], 1)
        if self.clinical is None:
            return projected, projected.new_zeros(tokens.shape[0], 0, projected.shape[-1])
        return projected, self.clinical(clinical)[:, None]


class Pooled(nn.Module):
    """One vector per modality, the projected mean of its tokens over present pictures, and one of clinical columns."""

    def __init__(self, shape: TripletShape, width: int) -> None:
        super().__init__()
        self.project = Projection(shape, width)

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> tuple[Tensor, Tensor]:
        """Pool (B, M, V, T, D), with the presence mask (B, M, V) and clinical columns (B, K).

        Returns:
            Vectors (B, parts, width), zero where absent, and their presence mask (B, parts, 1).
        """
        mean = tokens.mean(3).sum(2) / present.sum(2).clamp(min=1)[..., None]  # absent tokens are zero
        vectors = torch.cat(self.project(mean, clinical), 1)
        parts_present = present.any(2)
        n_clinical = vectors.shape[1] - parts_present.shape[1]  # 0 or 1
        clinical_present = parts_present.new_ones(parts_present.shape[0], n_clinical)
        parts_present = torch.cat([parts_present, clinical_present], 1)[..., None]
        return torch.where(parts_present, vectors, 0), parts_present


class TokenSequence(nn.Module):
    """All tokens of a patient in one sequence, each with the mark of its modality."""

    def __init__(self, shape: TripletShape, settings: HeadSettings) -> None:
        super().__init__()
        self.project = Projection(shape, settings.width)
        self.modality = nn.Parameter(torch.randn(shape.n_modalities, 1, 1, settings.width) * 0.02)
        self.query = nn.Parameter(torch.randn(1, 1, settings.width) * 0.02)

    def forward(self, tokens: Tensor, present: Tensor, clinical: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Build the patient's query (B, 1, width), the sequence (B, S, width), and its padding mask (B, S)."""
        pictures, columns = self.project(tokens, clinical)
        absent = ~present[..., None].expand(tokens.shape[:4])
        sequence = torch.cat([(pictures + self.modality).flatten(1, 3), columns], 1)
        padding = torch.cat([absent.flatten(1), absent.new_zeros(columns.shape[:2])], 1)
        return self.query.expand(tokens.shape[0], -1, -1), sequence, padding


class TransformerBlock(nn.Module):
    """A pre-norm transformer block (Xiong et al. 2020, arXiv 2002.04745); ``x`` attends to ``context``.

    In training each of its two branches is left out at random for a share of the patients (stochastic depth, Huang et
    al. 2016, arXiv 1603.09382).
    """

    def __init__(self, settings: HeadSettings) -> None:
        super().__init__()
        width = settings.width
        self.norm_x, self.norm_context, self.norm_mlp = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(
            width, settings.attention_heads, dropout=settings.dropout, batch_first=True
        )
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(settings.dropout), nn.Linear(2 * width, width)
        )
        self.drop_path = settings.drop_path

    def forward(self, x: Tensor, context: Tensor, padding: Tensor) -> Tensor:
        """Let ``x`` (B, Q, width) attend to ``context`` (B, S, width), but where ``padding`` (bool, (B, S)) is set."""
        keys = self.norm_context(context)
        attended = self.attention(self.norm_x(x), keys, keys, key_padding_mask=padding, need_weights=False)[0]
        x = x + self.drop_branch(attended)
        return x + self.drop_branch(self.mlp(self.norm_mlp(x)))

    def drop_branch(self, branch: Tensor) -> Tensor:
        """Leave a branch (B, ...) out at random for a share of the patients, in training."""
        if not self.training or self.drop_path == 0:
            return branch
        keep = torch.rand(len(branch), 1, 1, device=branch.device) >= self.drop_path
        return branch * keep / (1 - self.drop_path)
