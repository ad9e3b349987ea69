"""A command as trainable: each arm is one run of a program that need not know Branchwise.

`settings` reads the sections `command` and `settings` of a space, `arguments` fills placeholders, `numbers` reads
printed numbers, `process` runs a program and stops it with all that it started, `output` reads metrics and progress,
`trial` combines them.
"""

from branchwise.trainables.command.trial import from_settings

__all__ = ["from_settings"]
