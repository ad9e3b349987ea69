#!/usr/bin/env python3
"""Does the driver of a long sweep grow? 304 short trials in one sweep; its memory and open files every 50 trials.

python benchmarks/soak.py
"""

from __future__ import annotations

import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
EVERY = 50  # trials between two lines

SPACE = """\
name: soak
trainable: surface
train: {steps: 3}
design:
  components:
    uncond_branch: {off: {uncond_weight: 0}}
    anchor: {off: {anchor_weight: 0}}
    curriculum_transfer: {off: {curriculum: learned}}
  blocks: 38
resources: {arms_per_trial: 1}
"""


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="branchwise-soak-") as scratch:
        folder = Path(scratch)
        (folder / "space.yaml").write_text(SPACE)
        command = [sys.executable, str(ROOT / "platform/run_sweep.py"), "--space", str(folder / "space.yaml")]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen([*command, "--storage", str(folder)], stdout=log, stderr=log)
        began = time.monotonic()
        print(f"{platform.machine()}, Python {platform.python_version()}, ray {version('ray')}")
        print("trials  seconds  resident MB  open files  threads", flush=True)
        seen = 0
        while process.poll() is None:
            done = len(list((folder / "soak/arms").glob("[!.]*.json")))
            if done >= seen + EVERY or (seen == 0 and done):
                seen = done
                print(f"{done:6d}  {time.monotonic() - began:7.0f}  {_state(process.pid)}", flush=True)
            time.sleep(0.2)
        if process.returncode:
            print((folder / "log").read_text())
        return process.returncode


def _state(pid: int) -> str:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    files = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return f"{int(status['VmRSS'].split()[0]) / 1024:11.0f}  {files:10d}  {int(status['Threads']):7d}"


if __name__ == "__main__":
    sys.exit(main())
