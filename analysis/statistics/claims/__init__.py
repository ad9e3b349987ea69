"""Claims, written in a space before the run and tested after it: language, verdicts, family."""
