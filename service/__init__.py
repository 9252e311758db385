"""The HTTP side: routes, schemas, inference engine, dashboard, client and command line."""
