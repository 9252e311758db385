"""Artsy as it was the default of earlier releases: every task moves the adapter, and Gaussians answer."""
