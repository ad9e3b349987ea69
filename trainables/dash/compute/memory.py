"""Work that is retried in smaller portions where a GPU's memory does not hold it at once."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

logger = logging.getLogger("branchwise.dash")


class AdaptiveBatcher:
    """Batches of `size` rows, halved for good whenever the memory is exhausted.

    A portion of a single row that does not fit is an error. `what` is the work's name in the log.
    """

    def __init__(self, size: int, what: str) -> None:
        self.size = size
        self._what = what

    def run(self, work: Callable[[slice], Tensor], rows: int) -> Tensor:
        """Return `work` on all `rows` rows (1 or more), concatenated: (rows, ...).

        Raises torch.OutOfMemoryError.
        """
        done, results = 0, []
        while done < rows:
            part = slice(done, min(rows, done + self.size))
            try:
                results.append(work(part))
                done = part.stop
                continue
            except torch.OutOfMemoryError:
                if part.stop - part.start == 1:
                    raise
            # Only now, since the exception had references to the allocations.
            self.size = (part.stop - part.start) // 2
            logger.warning("%s: out of GPU memory with %d at once; now %d", self._what, part.stop - done, self.size)
            release_memory()
        return torch.cat(results)


def release_memory() -> None:
    """Returns to the device what this process holds without using it."""
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()


def parts(rows: Tensor, size: int) -> Iterator[Tensor]:
    """The rows in order, in chunks of up to `size`."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
