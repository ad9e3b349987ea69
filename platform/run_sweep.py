#!/usr/bin/env python3
"""Run the sweep that a space describes: `branchwise run` and its relatives, from a checkout.

Example: `python platform/run_sweep.py --space search_spaces/ablation.yaml`
"""

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # a checkout need not be installed
    from branchwise.orchestration import interrupts

    interrupts.exit_on_signal_while_starting()  # the next import takes a second
    from branchwise.commands.run_sweep import main

    interrupts.exit_process(main())
