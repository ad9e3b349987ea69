"""The parser of every command line: bad arguments become a UserError, and each command names itself."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from branchwise.orchestration.errors import UserError


class Parser(argparse.ArgumentParser):
    """Raises UserError where argparse would print its usage and exit; options are not abbreviated."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **settings})

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message} (see --help)")
