"""The plan of a sweep before anything starts: arms in cohorts, machines, and duration."""
