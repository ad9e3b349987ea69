"""Tables, plots and pages made of findings. `build.build_report` is the door; `terminal.show` prints its summary."""

from pathlib import Path

REPORT_SCHEMA = Path(__file__).with_name("ablation.schema.json")  # of ablation.json, whose `format` is the version
