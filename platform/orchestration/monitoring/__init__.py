"""The output of a sweep: terminal, `status`, gauges for Prometheus, and trackers."""
