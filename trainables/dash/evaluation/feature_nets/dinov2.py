"""DINOv2's image encoder (Oquab et al. 2023, arXiv 2304.07193) from a local file of weights.

torch-fidelity's extractor accepts none: it fetches code and weights through torch.hub. This class is registered with
torch-fidelity under the same preprocessing; the names of its parameters are those of the published weights.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_dinov2 import FeatureExtractorDinoV2

PATCH, SIDE = 14, 37  # pixels of a patch; patches across the images it was trained on
HEAD = 64  # dimensions of an attention head
SIZES = {  # depth, dimensions, whether the feed-forward layers are gated
    "dinov2-vit-s-14": (12, 384, False),
    "dinov2-vit-b-14": (12, 768, False),
    "dinov2-vit-l-14": (24, 1024, False),
    "dinov2-vit-g-14": (40, 1536, True),
}


class Attention(nn.Module):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.qkv = nn.Linear(dims, 3 * dims)
        self.proj = nn.Linear(dims, dims)

    def forward(self, x: Tensor) -> Tensor:
        n, tokens, dims = x.shape
        q, k, v = self.qkv(x).reshape(n, tokens, 3, dims // HEAD, HEAD).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v)
        output: Tensor = self.proj(mixed.transpose(1, 2).reshape(n, tokens, dims))
        return output


class FeedForward(nn.Module):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dims, 4 * dims)
        self.fc2 = nn.Linear(4 * dims, dims)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return output


class GatedFeedForward(nn.Module):
    """SwiGLU (Shazeer 2020), two thirds as wide, rounded up to a multiple of 8."""

    def __init__(self, dims: int) -> None:
        super().__init__()
        hidden = (int(4 * dims * 2 / 3) + 7) // 8 * 8
        self.w12 = nn.Linear(dims, 2 * hidden)
        self.w3 = nn.Linear(hidden, dims)

    def forward(self, x: Tensor) -> Tensor:
        gate, value = self.w12(x).chunk(2, dim=-1)
        output: Tensor = self.w3(functional.silu(gate) * value)
        return output


class LayerScale(nn.Module):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(dims))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gamma


class Block(nn.Module):
    def __init__(self, dims: int, gated: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(dims, eps=1e-6)
        self.attn = Attention(dims)
        self.ls1 = LayerScale(dims)
        self.norm2 = nn.LayerNorm(dims, eps=1e-6)
        self.mlp = GatedFeedForward(dims) if gated else FeedForward(dims)
        self.ls2 = LayerScale(dims)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        output: Tensor = x + self.ls2(self.mlp(self.norm2(x)))
        return output


class PatchEmbedding(nn.Module):
    def __init__(self, dims: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, dims, PATCH, stride=PATCH)

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.proj(x).flatten(2).transpose(1, 2)
        return output


class DinoV2(nn.Module):
    """DINOv2: normalized images (N, 3, H, W) to the normalized class token (N, dims).

    The sides are multiples of 14.
    """

    def __init__(self, depth: int, dims: int, gated: bool) -> None:
        super().__init__()
        self.patch_embed = PatchEmbedding(dims)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, dims))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + SIDE**2, dims))
        self.mask_token = nn.Parameter(torch.zeros(1, dims))  # of its training only
        self.blocks = nn.ModuleList(Block(dims, gated) for _ in range(depth))
        self.norm = nn.LayerNorm(dims, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2] // PATCH, x.shape[3] // PATCH
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), self.patch_embed(x)], dim=1)
        x = x + self._positions(height, width)
        for block in self.blocks:
            x = block(x)
        output: Tensor = self.norm(x)[:, 0]
        return output

    def _positions(self, height: int, width: int) -> Tensor:
        """Return the position embedding, resized as when the features were published.

        The factor is (side + 0.1) / 37.
        """
        if height == width == SIDE:
            return self.pos_embed
        patches = self.pos_embed[:, 1:].reshape(1, SIDE, SIDE, -1).permute(0, 3, 1, 2)
        root = math.sqrt(SIDE**2)
        scale = ((height + 0.1) / root, (width + 0.1) / root)
        resized = functional.interpolate(patches, scale_factor=scale, mode="bicubic")
        return torch.cat([self.pos_embed[:, :1], resized.permute(0, 2, 3, 1).flatten(1, 2)], dim=1)


class FeatureExtractorLocalDinoV2(FeatureExtractorDinoV2):  # type: ignore[misc]
    """torch-fidelity's extractor, with weights from the file `feature_extractor_weights_path`."""

    def __init__(self, name: str, features_list: list[str], feature_extractor_weights_path: str) -> None:
        FeatureExtractorBase.__init__(self, name, features_list)
        self.feature_extractor_internal_dtype = torch.float32
        self.model = DinoV2(*SIZES[name])
        self.model.load_state_dict(torch.load(feature_extractor_weights_path, map_location="cpu", weights_only=True))
        self.requires_grad_(False)
        self.eval()
