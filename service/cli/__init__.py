"""The `filopodia` command: the service, and everything it does, from a terminal."""
