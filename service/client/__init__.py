"""A typed client of the public API: what the command line speaks, and programs may."""
