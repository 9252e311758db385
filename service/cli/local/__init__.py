"""Commands that work on an installation of this machine. They need what `filopodia[server]` brings."""
