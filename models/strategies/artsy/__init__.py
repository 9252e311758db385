"""Artsy: a sub-network and an artificial synapse a task, silent until its current reaches the threshold."""
