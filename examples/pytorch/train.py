"""A plain PyTorch script: a small convolutional network on scikit-learn's digits, which prints its accuracy."""

import argparse

import torch
from sklearn.datasets import load_digits
from torch import nn

parser = argparse.ArgumentParser()
parser.add_argument("--epochs", type=int, default=6)
parser.add_argument("--lr", type=float, default=3e-3)
parser.add_argument("--dropout", type=float, default=0.2)
parser.add_argument("--batch-norm", action="store_true")
parser.add_argument("--schedule", choices=["constant", "cosine"], default="cosine")
parser.add_argument("--seed", type=int, default=0)
args = parser.parse_args()

torch.manual_seed(args.seed)
torch.set_num_threads(1)
data = load_digits()
images = torch.tensor(data.images, dtype=torch.float32).unsqueeze(1) / 16
labels = torch.tensor(data.target)
order = torch.randperm(len(images))
train, test = order[:600], order[600:]


def block(inputs, outputs):
    layers = [nn.Conv2d(inputs, outputs, 3, padding=1)]
    if args.batch_norm:
        layers.append(nn.BatchNorm2d(outputs))
    return [*layers, nn.ReLU(), nn.MaxPool2d(2)]


model = nn.Sequential(*block(1, 16), *block(16, 32), nn.Flatten(), nn.Dropout(args.dropout), nn.Linear(128, 10))
optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, args.epochs) if args.schedule == "cosine" else None
for epoch in range(1, args.epochs + 1):
    model.train()
    for batch in torch.randperm(len(train)).split(32):
        loss = nn.functional.cross_entropy(model(images[train[batch]]), labels[train[batch]])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    if scheduler:
        scheduler.step()
    model.eval()
    with torch.no_grad():
        correct = (model(images[test]).argmax(1) == labels[test]).float().mean().item()
    print(f"Epoch {epoch}: loss {loss.item():.4f}, test accuracy {100 * correct:.2f}%")
