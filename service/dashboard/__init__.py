"""The admin dashboard: server-rendered pages over the registry, for a person with a browser."""
