"""What nets, cohorts and teachers come to: parameters, arithmetic, memory, seconds. For plans; no torch here."""
