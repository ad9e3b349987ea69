"""Helping to write a space.

For a script, from the options that it declares (`scaffold`); the JSON Schema for editors
(`schema`).
"""
