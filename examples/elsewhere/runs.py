"""24 runs in a plain loop, as many people make them: a table at the end, and no tool.

python examples/elsewhere/runs.py > runs.csv
"""

import csv
import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler

images, labels = load_digits(return_X_y=True)
table = csv.writer(sys.stdout, lineterminator="\n")
table.writerow(["scaling", "flips", "seed", "accuracy"])
for seed in range(6):
    x, x_test, y, y_test = train_test_split(images, labels, test_size=0.5, random_state=seed, stratify=labels)
    for scaling in ("none", "standard"):
        for flips in (0, 1):  # of left and right, which digits do not survive
            train = np.concatenate([x, x.reshape(-1, 8, 8)[:, :, ::-1].reshape(-1, 64)]) if flips else x
            scaler = StandardScaler().fit(train) if scaling == "standard" else None
            train, test = (scaler.transform(part) if scaler else part for part in (train, x_test))
            net = MLPClassifier((16,), max_iter=60, random_state=seed)
            net.fit(train, np.concatenate([y, y]) if flips else y)
            table.writerow([scaling, flips, seed, round(net.score(test, y_test), 4)])
