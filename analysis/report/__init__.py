"""Tables, plots and pages made of findings. `build.build_report` is the door; `terminal.show` prints its summary."""
