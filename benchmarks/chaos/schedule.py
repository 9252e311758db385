"""Which faults strike in a run, and in which order: decided by the seed alone."""

import random
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

PLACE = re.compile(r"""\bfailpoint\(\s*["']([a-z0-9_.]+)["']\s*\)""")
FULL_PLACE = "blobs.after_write"
"""Where the disk is full."""
APIS, WORKERS = "apis", "workers"
EARLY = ("kill_workers", "power_cut")
"""Somewhere in the first half, so that a short run on a slow machine has had them when its time is over."""
SIDES = {"service": (APIS,), "worker": (WORKERS,), "registry": (WORKERS, APIS)}
"""Whose processes come to the places of a package."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong."""

    verb: str
    """A method of `benchmarks.chaos.nemesis.Nemesis`."""
    place: str = ""
    """Name of a failpoint."""
    action: str = ""
    """What happens there."""
    side: str = ""
    """Whom it happens to: `apis` or `workers`."""

    @property
    def ends_an_api(self) -> bool:
        """Whether an api may end by it: never while the other one is down."""
        return self.verb in ("kill_api", "stop_api") or (self.side, self.action) == (APIS, "kill")

    @property
    def label(self) -> str:
        """What reports call it."""
        return f"{self.verb} {self.place}".strip()


@dataclass(frozen=True)
class Profile:
    """How long and how hard a run is."""

    name: str
    quiet_s: float
    """Predictions alone at the start, to compare with."""
    calm_s: float
    """Uploads and predictions without faults after that."""
    fault_s: float
    """Time for all faults; those that found nothing to strike at by then are left out and listed."""
    extra_s: float
    """What may be added to get all of them done."""
    drain_s: float
    """Time for all tasks to end after the last fault."""
    min_kills: int
    """A run with fewer proves too little to count as passed."""
    place_rounds: int
    """How often each failpoint is struck."""
    counts: dict[str, int]
    """How often everything else happens."""

    def slowed(self, pace: float) -> "Profile":
        """Return the same faults over a time so many times as long, for a machine that is so much slower."""
        return replace(
            self,
            quiet_s=self.quiet_s * pace,
            calm_s=self.calm_s * pace,
            fault_s=self.fault_s * pace,
            extra_s=self.extra_s * pace,
            drain_s=self.drain_s * pace,
        )


QUICK = Profile(
    name="quick",
    quiet_s=6.0,
    calm_s=10.0,
    fault_s=85.0,
    extra_s=15.0,
    drain_s=75.0,
    min_kills=10,
    place_rounds=1,
    counts={
        "kill_api": 1,
        "kill_worker": 2,
        "kill_workers": 1,
        "kill_pool": 1,
        "kill_learn": 2,
        "kill_redis": 2,
        "kill_backend": 2,
        "kill_postmaster": 2,
        "pause_worker": 1,
        "freeze_redis": 1,
        "freeze_postgres": 1,
        "power_cut": 1,
        "flush_redis": 1,
        "repeat_message": 1,
        "junk_messages": 1,
        "full_disk": 2,
        "stop_api": 1,
        "stop_worker": 1,
    },
)
FULL = Profile(
    name="full",
    quiet_s=30.0,
    calm_s=45.0,
    fault_s=1200.0,
    extra_s=900.0,
    drain_s=180.0,
    min_kills=200,
    place_rounds=3,
    counts={
        "kill_api": 18,
        "kill_worker": 25,
        "kill_workers": 6,
        "kill_pool": 18,
        "kill_learn": 25,
        "kill_redis": 20,
        "kill_backend": 20,
        "kill_postmaster": 20,
        "pause_worker": 10,
        "freeze_redis": 5,
        "freeze_postgres": 5,
        "power_cut": 6,
        "flush_redis": 5,
        "repeat_message": 4,
        "junk_messages": 4,
        "full_disk": 8,
        "stop_api": 6,
        "stop_worker": 6,
    },
)
PROFILES = {profile.name: profile for profile in (QUICK, FULL)}


def find_places(root: Path) -> dict[str, str]:
    """Return the failpoints that the source names, each with the package that it is in."""
    return {
        place: package
        for package in SIDES
        for file in sorted((root / package).rglob("*.py"))
        for place in PLACE.findall(file.read_text())
    }


def make_schedule(profile: Profile, places: Mapping[str, str], seed: int) -> list[Fault]:
    """Return all faults of a run in a random order."""
    faults = [
        Fault(verb)
        if verb != "full_disk"
        else Fault("fail_at", FULL_PLACE, "full", SIDES["registry"][i % 2])
        for verb, count in profile.counts.items()
        for i in range(count)
    ]
    for i in range(profile.place_rounds):
        for place in sorted(places):
            sides = (WORKERS,) if place.startswith("collect.") else SIDES[places[place]]
            faults.append(Fault("fail_at", place, "kill", sides[i % len(sides)]))
    chance = random.Random(seed)
    chance.shuffle(faults)
    early = [fault for fault in faults if fault.verb in EARLY]
    others = [fault for fault in faults if fault.verb not in EARLY]
    for fault in early:
        others.insert(chance.randrange(max(1, len(others) // 2)), fault)
    return others
