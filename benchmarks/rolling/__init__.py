"""Services restarted in turn behind the proxies that docs/deployment.md names, told what it says."""
