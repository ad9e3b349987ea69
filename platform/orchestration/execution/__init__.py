"""Running a plan on Ray: cluster, teacher, searches, cohorts. `sweep.run_sweep` is the door."""
