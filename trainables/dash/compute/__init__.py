"""Computation of steps: ranks, seeds, exact and fast modes, progress; no nets, no data sets."""
