"""How many clients of each kind, and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Profile:
    """One load. Times are in seconds; those that wait for the machine are multiplied by its pace."""

    name: str
    load_s: float
    """With all clients at once."""
    quiet_s: float
    """One neighbour alone, before and after."""
    clients: int
    """That predict, each on a connection kept alive."""
    uploads: int
    """At once, in each burst."""
    streams: int
    """Event streams held open."""
    slow_bodies: int
    """Connections whose bodies come a byte a second."""
    think_s: float
    """Between an answer and that client's next prediction, on average."""
    drain_s: float
    """For acknowledged tasks to end after the load."""
    backbone: str

    @property
    def connections(self) -> int:
        """How many are open at once."""
        return self.clients + self.uploads + self.streams + self.slow_bodies

    def resized(self, sizes: Mapping[str, Any]) -> "Profile":
        """Return it with the sizes that are not None."""
        return replace(self, **{name: size for name, size in sizes.items() if size is not None})


QUICK = Profile(
    name="quick",
    load_s=24.0,
    quiet_s=4.0,
    clients=20,
    uploads=6,
    streams=20,
    slow_bodies=40,
    think_s=0.5,
    drain_s=120.0,
    backbone="tiny",
)
FULL = Profile(
    name="full",
    load_s=600.0,
    quiet_s=20.0,
    clients=200,
    uploads=50,
    streams=400,
    slow_bodies=600,
    think_s=2.0,
    drain_s=1200.0,
    backbone="bundled",
)
PROFILES = {profile.name: profile for profile in (QUICK, FULL)}
