"""The clock that everything in this room takes as an argument, so that tests need not wait."""

from collections.abc import Awaitable, Callable

Sleep = Callable[[float], Awaitable[None]]
Now = Callable[[], float]
