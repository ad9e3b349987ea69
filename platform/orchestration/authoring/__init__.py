"""Helping to write a space: a commented one for a script (`scaffold`), and the JSON Schema for editors (`schema`)."""
