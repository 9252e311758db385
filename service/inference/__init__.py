"""Versions in memory and the engine thread that answers predictions with them."""
