"""Artsy to the letter of the paper: a sub-network and a trained gate a task, and the gated features are summed."""
