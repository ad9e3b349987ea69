"""The machine that a method runs on: how fast it is (`rates`), and whether it computes what it should (`checks`)."""
