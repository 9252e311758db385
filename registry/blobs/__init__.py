"""Content-addressed blobs: the store, its two kinds, and which of them the settings name. Knows no rows."""
