"""How far long work has come: calls for programs, one line for people."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TextIO, TypeVar

Item = TypeVar("Item")

#: Called with what is done and what there is to do, in the same unit; 0 for what is not known.
Progress = Callable[[int, int], None]


def stepwise(
    items: Iterable[Item], size: Callable[[Item], int], progress: Progress | None
) -> Iterator[Item]:
    """Yields the items, and tells `progress` of each one's size once the next is asked for."""
    if progress is None:
        yield from items
        return
    items = list(items)
    total = sum(map(size, items))
    done = 0
    for item in items:
        yield item
        done += size(item)
        progress(done, total)


class ProgressLine:
    """A line on standard error that is erased at the end; silent where that is no terminal.

    with condi.ProgressLine("loading") as progress:
        weights = condi.load("model.condi", progress=progress)
    """

    _INTERVAL = 0.1

    def __init__(self, activity: str, stream: TextIO | None = None) -> None:
        self._activity = activity
        self._stream = sys.stderr if stream is None else stream
        self._next = 0.0
        self._is_shown = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now < self._next or not self._stream.isatty():
            return
        self._next = now + self._INTERVAL
        self._is_shown = True
        share = f"{100 * done // total:3d} %" if total else f"{done}"
        self._stream.write(f"\r\x1b[K{self._activity} {share}")
        self._stream.flush()

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_shown:
            self._stream.write("\r\x1b[K")
            self._stream.flush()
