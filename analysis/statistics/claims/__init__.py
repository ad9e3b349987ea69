"""Claims, written in a space before the run and judged after it: their language, their verdicts, and their family."""
