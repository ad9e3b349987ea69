"""Handwritten digits with scikit-learn: how much do scaling, augmentation and an ensemble add to a small network?

screening.yaml tests the same for eight parts.
"""

import argparse
import json
import warnings

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def shifted(images, labels):
    """The images, and each moved by a pixel to the left, right, top and bottom."""
    grids = images.reshape(-1, 8, 8)
    moved = [np.roll(grids, by, axis) for axis in (1, 2) for by in (-1, 1)]
    return np.concatenate([grids, *moved]).reshape(-1, 64), np.tile(labels, 5)


def smoothed(images):
    """The images, each pixel with a share of its four neighbors."""
    grids = images.reshape(-1, 8, 8)
    around = sum(np.roll(grids, by, axis) for axis in (1, 2) for by in (-1, 1))
    return (grids / 2 + around / 8).reshape(-1, 64)


warnings.simplefilter("ignore", ConvergenceWarning)  # so few passes are meant
parser = argparse.ArgumentParser()
parser.add_argument("--hidden", type=int, default=24)
parser.add_argument("--scale", action="store_true")
parser.add_argument("--augment", action="store_true")
parser.add_argument("--members", type=int, default=4)
parser.add_argument("--smooth", action="store_true")
parser.add_argument("--pca", type=int, default=0, help="components to keep; 0: all pixels")
parser.add_argument("--decay", type=float, default=1e-4, help="weight decay")
parser.add_argument("--passes", type=int, default=40)
parser.add_argument("--activation", default="relu")
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

images, labels = load_digits(return_X_y=True)
train, test, train_labels, test_labels = train_test_split(images, labels, test_size=0.5, random_state=options.seed)
if options.smooth:
    train, test = smoothed(train), smoothed(test)
if options.augment:
    train, train_labels = shifted(train, train_labels)
model = MLPClassifier(
    (options.hidden,),
    activation=options.activation,
    alpha=options.decay,
    max_iter=options.passes,
    random_state=options.seed,
)
if options.members > 1:
    model = BaggingClassifier(model, n_estimators=options.members, random_state=options.seed)
if options.pca:
    model = make_pipeline(PCA(options.pca, random_state=options.seed), model)
if options.scale:
    model = make_pipeline(StandardScaler(), model)
model.fit(train, train_labels)
with open("result.json", "w") as file:
    json.dump({"accuracy": model.score(test, test_labels)}, file)
