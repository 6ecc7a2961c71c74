"""What is to be written to MLflow, in line: while MLflow is away it waits, and nothing is written twice or out of order."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from components import tracking

SECONDS_BETWEEN_TRIES = 5
SECONDS_FOR_TRACKING = 120


@dataclass
class Outbox:
    """Writes that may be repeated. `say`: tells a person, once each time MLflow goes away."""

    say: Callable[[str], None]
    _waiting: deque[Callable[[], object]] = field(default_factory=deque)
    _next_try: float = 0.0
    _away: bool = False

    def put(self, write: Callable[[], object]) -> None:
        self._waiting.append(write)

    def write(self, most: int | None = None, final: bool = False) -> None:
        """Write what waits (at most so many writes); what MLflow does not take for now stays in line."""
        while self._waiting and most != 0 and time.monotonic() >= self._next_try:
            try:
                self._waiting[0]()
                self._waiting.popleft()
                self._away = False
                most = most and most - 1
            except tracking.TrackingUnavailable as error:
                if final:
                    raise
                if not self._away:
                    self.say(f"MLflow does not answer ({error}): results wait in the store")
                self._away = True
                self._next_try = time.monotonic() + SECONDS_BETWEEN_TRIES

    def flush(self) -> None:
        """Write what still waits. Raises `TrackingUnavailable` if MLflow stays away."""
        until = time.monotonic() + SECONDS_FOR_TRACKING
        while self._waiting:
            self._next_try = 0.0
            self.write(final=time.monotonic() > until)
            if self._waiting:
                time.sleep(SECONDS_BETWEEN_TRIES)
