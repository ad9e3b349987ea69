"""A small GPT on the text of Python's help pages, as a function that Branchwise calls."""

import math
import pydoc_data.topics
from dataclasses import dataclass

import torch
from torch import Tensor, nn

CONTEXT, BATCH, EVALUATED = 64, 16, 20


@dataclass
class Settings:
    steps: int = 80
    lr: float = 1e-2
    weight_decay: float = 0.1
    warmup: int = 16
    tied: bool = True
    width: int = 48
    layers: int = 2


class GPT(nn.Module):
    def __init__(self, vocabulary: int, settings: Settings) -> None:
        super().__init__()
        width = settings.width
        self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(CONTEXT, width)
        layer = nn.TransformerEncoderLayer(width, 4, 4 * width, 0.0, "gelu", batch_first=True, norm_first=True)
        self.blocks = nn.TransformerEncoder(layer, settings.layers, enable_nested_tensor=False)
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)
        nn.init.normal_(self.tokens.weight, std=0.02)
        nn.init.normal_(self.head.weight, std=0.02)
        if settings.tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: Tensor) -> Tensor:
        places = torch.arange(tokens.shape[1])
        mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
        hidden = self.tokens(tokens) + self.places(places)
        return self.head(self.norm(self.blocks(hidden, mask=mask, is_causal=True)))


def train(settings: Settings, seed: int, report) -> dict:
    torch.manual_seed(seed)
    torch.set_num_threads(1)
    text = "\n".join(pydoc_data.topics.topics.values())
    characters = sorted(set(text))
    index = {character: number for number, character in enumerate(characters)}
    data = torch.tensor([index[character] for character in text])
    parts = data[: int(0.9 * len(data))], data[int(0.9 * len(data)) :]
    draw = torch.Generator().manual_seed(seed)

    def loss_on(part: Tensor) -> Tensor:
        starts = torch.randint(len(part) - CONTEXT - 1, (BATCH,), generator=draw)
        windows = torch.stack([part[start : start + CONTEXT + 1] for start in starts])
        return nn.functional.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())

    def lr_at(step: int) -> float:
        if step < settings.warmup:
            return (step + 1) / settings.warmup
        return 0.5 * (1 + math.cos(math.pi * (step - settings.warmup) / (settings.steps - settings.warmup)))

    model = GPT(len(characters), settings)
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.lr, weight_decay=settings.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lr_at)
    for step in range(1, settings.steps + 1):
        loss = loss_on(parts[0])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 10 == 0:
            report(step, steps=settings.steps, loss=loss.item())
    model.eval()
    with torch.no_grad():
        return {"validation_loss": torch.stack([loss_on(parts[1]) for _ in range(EVALUATED)]).mean().item()}
