"""Create digits_features.safetensors.

Run `python -m branchwise.trainables.dash.evaluation.train_digits_features OUT`.

Stored as a record. Retraining yields other features, and so another metric.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch.nn import functional

from branchwise.run_files.sealing import sha256_of
from branchwise.trainables.dash.data import datasets
from branchwise.trainables.dash.evaluation.features import DigitsFeatures
from branchwise.trainables.dash.settings.data import Digits

EPOCHS = 60
BATCH = 64


def main(out: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    digits = datasets.load_reference_images(Digits(), "cpu")
    order = torch.randperm(len(digits.images))
    test, train = order[:360], order[360:]
    net = DigitsFeatures()
    optimizer = torch.optim.AdamW(net.parameters(), lr=2e-3, weight_decay=0.01)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=EPOCHS * (len(train) // BATCH))
    for _ in range(EPOCHS):
        shuffled = train[torch.randperm(len(train))]
        for start in range(0, len(train) - BATCH + 1, BATCH):
            chosen = shuffled[start : start + BATCH]
            loss = functional.cross_entropy(net.head(net(digits.images[chosen])), digits.labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
    net.eval()
    with torch.no_grad():
        accuracy = (net.head(net(digits.images[test])).argmax(1) == digits.labels[test]).float().mean()
        net.scale.copy_(1 / net(digits.images).square().mean().sqrt())
    save_file(net.state_dict(), out)
    print(f"accuracy on 360 held-out images {accuracy:.4f}; SHA-256 {sha256_of(out)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
