"""The service seen from outside: what can be asked of it, and two clients that ask. Import from `service.client`."""
