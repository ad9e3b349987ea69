"""Kinds of designs: the allowed forms of a space's section `design`.

Each kind is a separate class behind `base.Design`. To add one, write its class in a file here and
list it in KINDS.
"""

from branchwise.orchestration.designs.base import Design
from branchwise.orchestration.designs.factorial import Factorial
from branchwise.orchestration.designs.leave_one_out import AddOneIn, LeaveOneOut
from branchwise.orchestration.designs.screening import Screening
from branchwise.orchestration.designs.search import Search
from branchwise.orchestration.designs.tuned_factorial import TunedFactorial

KINDS: dict[str, type[Design]] = {
    "factorial": Factorial,  # the default
    "leave_one_out": LeaveOneOut,
    "add_one_in": AddOneIn,
    "screening": Screening,
    "search": Search,
    "tuned_factorial": TunedFactorial,
}
