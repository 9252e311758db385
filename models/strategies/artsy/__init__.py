"""Artsy, the default: features that move only on evidence, heads that follow it, and silent sub-networks."""
