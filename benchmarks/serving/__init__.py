"""Predictions over HTTP, beside LitServe."""
