"""The machine that a method runs on: its speed (`rates`) and correctness (`checks`)."""
