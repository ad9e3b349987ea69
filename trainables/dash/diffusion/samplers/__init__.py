"""Samplers, a file each, called by the name that a space gives in `evaluate.sampler`.

To add a sampler, write its function `sample` in a file here; no other code lists them.
"""
