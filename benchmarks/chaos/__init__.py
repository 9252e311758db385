"""Fault tests of a whole cluster: real processes under load, killed and frozen on a seeded schedule, then checked."""
