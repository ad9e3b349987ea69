"""What a sweep will do before anything starts: its arms in cohorts (`packing`), on which machines, for how long."""
