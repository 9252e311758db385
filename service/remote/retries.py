"""When a request is sent again, and after how long a pause."""

import random
from dataclasses import dataclass

from service.remote.errors import ProblemError, UnreachableError


@dataclass(frozen=True, kw_only=True)
class Retries:
    """How patient a client is.

    A request is sent again where nobody answered, or where the service is overloaded, restarting, or still busy with
    the first copy; but only if a second copy does no harm: it reads, it replaces, or it carries an `Idempotency-Key`.
    Any request is sent again if no connection could be made, because then nothing was sent. Other problems, retryable
    or not, are raised at once: the service has spoken.
    """

    most: int = 4
    """How often a request is sent again."""
    first_pause_s: float = 0.25
    """Pause before the first retry where the service names none; doubled each time, less a random part up to half."""
    longest_pause_s: float = 10.0
    """Bound of these pauses."""
    longest_retry_after_s: float = 60.0
    """Longest `Retry-After` that is waited out; the problem is raised if the service asks for more."""
    patience_s: float = 60.0
    """How long a service that does not answer is waited for while a task is followed: time enough for a restart."""

    def pause_s(
        self, number: int, failure: ProblemError | UnreachableError, *, is_repeatable: bool
    ) -> float | None:
        """Return how long to wait before retry `number` (from 0), or None to give up."""
        nothing_sent = isinstance(failure, UnreachableError) and failure.nothing_sent
        if number >= self.most or not failure.is_passing or not (is_repeatable or nothing_sent):
            return None
        if isinstance(failure, ProblemError) and failure.retry_after_s is not None:
            return self._after(failure.retry_after_s)
        return self.backoff_s(number)

    def backoff_s(self, number: int) -> float:
        """Return a pause of our own choice: it grows, it is bounded, and no two clients choose the same."""
        longest = min(self.longest_pause_s, self.first_pause_s * 2.0**number)
        return longest * random.uniform(0.5, 1.0)

    def _after(self, retry_after_s: float) -> float | None:
        if retry_after_s > self.longest_retry_after_s:
            return None
        # Never earlier than asked; a little later, so that all who were told the same do not come back at once.
        return retry_after_s + random.uniform(0.0, min(1.0, 0.25 * retry_after_s))
