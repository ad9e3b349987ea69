"""Claims, written in a space before the run and tested after it: their language, their verdicts, and their family."""
