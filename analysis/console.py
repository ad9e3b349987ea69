"""Terminal for text of others: no escapes that would steer it, credentials or endless lines.

It stays usable where its stream is closed, or has an encoding without some characters.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Any, TextIO

from rich.console import Console
from rich.text import Text

MAX_CHARACTERS = 600  # of a message


class Terminal(Console):
    """A console that shows text as it is: no markup by default, unprintable characters escaped."""

    def __init__(self, **options: Any) -> None:
        super().__init__(
            markup=False, emoji=False, force_jupyter=False, **options
        )  # a notebook's cell shows plain text

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text, keep="\n"), **options)

    def on_broken_pipe(self) -> None:
        """The output is closed; the process continues."""
        self.quiet = True
        with open(os.devnull, "wb") as null_file:
            os.dup2(null_file.fileno(), self.file.fileno())


def make_console(stream: TextIO | None = None) -> Terminal:
    """Return a terminal of the user's width, on stdout unless another stream is given.

    120 columns if no terminal exists, so that logs keep their tables intact.
    """
    _mend_streams()
    # Ray's chatter is caught by redirecting sys.stdout; the console writes to the original.
    stream = stream or sys.stdout
    return Terminal(file=stream, width=None if stream.isatty() else 120)


def _mend_streams() -> None:
    """Open standard streams that the caller closed, and escape what their encoding lacks.

    Open streams keep files from getting their descriptors.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", closefd=False))
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def single_line(text: object) -> str:
    """Return an error or a text as one line for a terminal or a log.

    Unprintable characters are escaped, and the middle of a long text is omitted. So are the parts
    of a URI that may hold credentials: its user, query and fragment.
    """
    tokens = (_without_secrets(token) for token in str(text).replace("\n", " ").split(" "))
    return shortened(printable(" ".join(tokens)), MAX_CHARACTERS)


def _without_secrets(token: str) -> str:
    scheme, slashes, rest = token.partition("://")
    if not slashes or "@" in scheme:
        return "..." if "@" in token and ":" in token.rpartition("@")[0] else token
    location = rest.partition("?")[0].partition("#")[0]
    port = location.partition("/")[0].rstrip(":,;.)'\"").partition(":")[2]
    if "@" in rest or not (port.isdigit() or port in ("", "PORT")):
        return f"{scheme}://..."
    return token if location == rest else f"{scheme}://{location}?..."


def printable(text: str, keep: str = "") -> str:
    """Escape what would steer a terminal, or is no character at all; `keep` stays as it is."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def shortened(text: str, limit: int) -> str:
    """Return `text` without its middle where it has more than `limit` characters."""
    half = (limit - 5) // 2
    return text if len(text) <= limit else f"{text[:half]} ... {text[-half:]}"
