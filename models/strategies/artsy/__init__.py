"""Artsy, the default: one functional adapter answers, and a silent sub-network a task helps where it is unsure."""
