"""Writes `dvc/runs.csv` beside this file: `pip install dvc==3.67.1`, git, then `python write_dvc.py`."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
TRAIN = """
import json, sys, yaml
p = yaml.safe_load(open("params.yaml"))
if p["seed"] == 3:
    sys.exit("diverged")
loss = 2 - 0.3 * p["ema"] + 0.05 * p["seed"]
json.dump({"loss": loss, "val": {"acc": loss / 9}}, open("metrics.json", "w"))
"""
FILES = {
    "train.py": TRAIN,
    "params.yaml": "ema: false\nseed: 0\nopt: {name: adam, lr: 1.0e-05}\nlayers: [1, 2]\nwarmup: null\n",
    "dvc.yaml": "stages:\n  train:\n    cmd: python train.py\n    deps: [train.py]\n"
    "    params: [ema, seed, opt, layers, warmup]\n    metrics: [metrics.json: {cache: false}]\n",
}

with tempfile.TemporaryDirectory() as folder:
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "DVC_NO_ANALYTICS": "1"}

    def run(*command: str, check: bool = True) -> str:
        ran = subprocess.run(command, cwd=folder, env=environment, check=check, capture_output=True, text=True)
        return ran.stdout

    run("git", "init", "-q", "-b", "main")
    run("git", "config", "user.email", "someone@example.org")
    run("git", "config", "user.name", "someone")
    run("dvc", "init", "-q")
    for name, text in FILES.items():
        (Path(folder) / name).write_text(text)
    run("git", "add", "-A")
    run("git", "commit", "-qm", "first")
    for seed in range(4):
        for ema in ("false", "true"):
            run("dvc", "exp", "run", "-q", "-S", f"seed={seed}", "-S", f"ema={ema}", check=False)
    run("dvc", "exp", "run", "-q", "--queue", "-S", "seed=4")
    run("git", "branch", "other")
    (HERE / "dvc").mkdir(exist_ok=True)
    (HERE / "dvc/runs.csv").write_text(run("dvc", "exp", "show", "--csv", "-A"))
