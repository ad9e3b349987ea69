"""Three small data sets of scikit-learn: how much do scaling and an ensemble add to a small network on each?"""

import argparse
import json
import warnings

from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import BaggingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

DATASETS = {"digits": load_digits, "wine": load_wine, "breast_cancer": load_breast_cancer}

warnings.simplefilter("ignore", ConvergenceWarning)  # so few passes are meant
parser = argparse.ArgumentParser()
parser.add_argument("--dataset", choices=DATASETS, default="digits")
parser.add_argument("--scale", action="store_true")
parser.add_argument("--members", type=int, default=4)
parser.add_argument("--seed", type=int, default=0)
options = parser.parse_args()

inputs, labels = DATASETS[options.dataset](return_X_y=True)
train, test, train_labels, test_labels = train_test_split(inputs, labels, test_size=0.5, random_state=options.seed)
model = MLPClassifier((24,), max_iter=30, random_state=options.seed)
if options.members > 1:
    model = BaggingClassifier(model, n_estimators=options.members, random_state=options.seed)
if options.scale:
    model = make_pipeline(StandardScaler(), model)
model.fit(train, train_labels)
with open("result.json", "w") as file:
    json.dump({"accuracy": model.score(test, test_labels)}, file)
