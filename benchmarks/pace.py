"""How fast this machine is right now, so that budgets of time can be as long as it needs them.

    python -m benchmarks.pace

The unit of work is four processes at once, as a service, its worker, a learn process and their database are: each
starts, imports NumPy and computes for a moment. What that takes, over what it takes on the machine that our budgets
were written on, is the pace: 1 there and on anything faster, 3 where everything takes three times as long.
"""

import os
import subprocess
import sys
import time
from contextlib import ExitStack

VARIABLE = "FILOPODIA_TEST_PACE"
"""Environment variable that says the pace and saves measuring it."""
N_AT_ONCE = 4
REFERENCE_S = 0.65
"""What the unit takes on two idle cores of an EPYC with AVX-512: the machine that the budgets were written on."""
WORK = """
import numpy
matrix = numpy.random.default_rng(0).normal(size=(384, 384))
for _ in range(6):
    matrix = matrix @ matrix
    matrix /= abs(matrix).max()
total = 0
for number in range(1_000_000):
    total += number * number
"""


def measure() -> float:
    """Do the unit of work once and return the pace, at least 1. Takes about half a second where that is 1."""
    # One thread a process, so that it is the same work on any number of cores.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    started = time.perf_counter()
    with ExitStack() as stack:
        working = [
            stack.enter_context(subprocess.Popen([sys.executable, "-c", WORK], env=environment))
            for _ in range(N_AT_ONCE)
        ]
        for process in working:
            stack.callback(process.kill)
        for process in working:
            process.wait()
    return max(1.0, (time.perf_counter() - started) / REFERENCE_S)


class Pace:
    """The slowest pace seen so far. Measured when it is first asked for; `again` looks whether it has got worse."""

    def __init__(self) -> None:
        given = os.environ.get(VARIABLE)
        self._is_said = given is not None
        self._factor = max(1.0, float(given)) if given else None

    @property
    def factor(self) -> float:
        """How many times as long as on the reference machine things take."""
        if self._factor is None:
            self._factor = measure()
        return self._factor

    def scaled(self, seconds: float) -> float:
        """Return a budget written for the reference machine, for this one."""
        return seconds * self.factor

    def again(self) -> float:
        """Measure again, as the machine may have got busier, and return the slowest pace seen."""
        if not self._is_said:
            self._factor = max(self.factor, measure())
        return self.factor


if __name__ == "__main__":
    sys.stdout.write(f"{measure():.2f}\n")
