"""A load that is held: hundreds of clients of every kind at once, while the service learns, and what it costs it."""
