"""Tables, plots and pages of findings.

`build.build_report` builds them; `terminal.show` prints its summary.
"""

from pathlib import Path

REPORT_SCHEMA = Path(__file__).with_name("ablation.schema.json")  # of ablation.json; its `format` is the version
