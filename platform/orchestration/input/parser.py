"""The parser of the platform's command lines: bad arguments become a UserError."""

from __future__ import annotations

from typing import NoReturn

from branchwise import command_io
from branchwise.orchestration.errors import UserError


class Parser(command_io.CommandParser):
    """Raises UserError where argparse would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")
