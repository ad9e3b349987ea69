"""Handwritten digits with scikit-learn: how much do scaling, augmentation and an ensemble add to a small network?"""

import argparse
import json
import warnings

import numpy as np
from sklearn.datasets import load_digits
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


warnings.simplefilter("ignore", ConvergenceWarning)  # 40 passes are meant
parser = argparse.ArgumentParser()
parser.add_argument("--hidden", type=int, default=24)
parser.add_argument("--scale", action="store_true")
parser.add_argument("--augment", action="store_true")
parser.add_argument("--members", type=int, default=4)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

images, labels = load_digits(return_X_y=True)
train, test, train_labels, test_labels = train_test_split(images, labels, test_size=0.5, random_state=options.seed)
if options.augment:
    train, train_labels = shifted(train, train_labels)
model = MLPClassifier((options.hidden,), max_iter=40, random_state=options.seed)
if options.members > 1:
    model = BaggingClassifier(model, n_estimators=options.members, random_state=options.seed)
if options.scale:
    model = make_pipeline(StandardScaler(), model)
model.fit(train, train_labels)
with open("result.json", "w") as file:
    json.dump({"accuracy": model.score(test, test_labels)}, file)
