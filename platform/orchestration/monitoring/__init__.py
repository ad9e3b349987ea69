"""What people see of a sweep: the terminal, `status`, gauges for Prometheus, and what trackers are given."""
