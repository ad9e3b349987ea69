"""Helping to write a space: for a script, from the options that it declares (`scaffold`), and the JSON Schema for
editors (`schema`)."""
