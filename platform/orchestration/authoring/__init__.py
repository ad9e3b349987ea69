"""Helping to write a space: one for a script, of the options that it declares (`scaffold`), and the JSON Schema for
editors (`schema`)."""
