"""Costs of nets, cohorts and teachers: parameters, arithmetic, memory, seconds. For plans; no torch here."""
