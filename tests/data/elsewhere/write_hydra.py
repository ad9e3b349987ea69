"""Writes `hydra/` beside this file: `pip install hydra-core==1.3.8`, then `python write_hydra.py`."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
CONFIG = """
defaults: [{opt: adam}, _self_]
seed: 0
version: "1.10"
trainer: {ema: true, layers: [1, 2], out: "${version}"}
"""
APP = """
import json, os, hydra
from hydra.core.hydra_config import HydraConfig

@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(cfg):
    if cfg.seed == 3:
        raise RuntimeError("diverged")
    ema, lines = "ema" in cfg.trainer, []
    for step in range(4):
        loss = 2 - 0.3 * ema + 0.05 * cfg.seed + 0.5 / (step + 1)
        lines.append(json.dumps({"step": 10 * step, "loss": loss, "val": {"acc": loss / 9}}))
    with open(os.path.join(HydraConfig.get().runtime.output_dir, "metrics.jsonl"), "w") as file:
        file.write("\\n".join(lines) + "\\n")

main()
"""

with tempfile.TemporaryDirectory() as folder:
    conf = Path(folder) / "conf"
    (conf / "opt").mkdir(parents=True)
    (conf / "config.yaml").write_text(CONFIG)
    for name, lr in {"adam": "1.0e-5", "sgd": "0.1"}.items():
        (conf / f"opt/{name}.yaml").write_text(f"lr: {lr}\n")
    (Path(folder) / "app.py").write_text(APP)
    for number, more in enumerate((["trainer.layers=[3,4]"], ["trainer.layers=[3,4]", "~trainer.ema"])):
        sweep = ["-m", f"hydra.sweep.dir=multirun/{number}", "seed=0,1,2,3", "opt=adam,sgd", "+tag=null", *more]
        subprocess.run([sys.executable, "app.py", *sweep], cwd=folder, check=False)
    shutil.rmtree(HERE / "hydra", ignore_errors=True)
    shutil.copytree(Path(folder) / "multirun", HERE / "hydra")
