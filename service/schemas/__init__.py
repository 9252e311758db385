"""What goes in and out over HTTP, as Pydantic schemas: one module a resource, named like its routes."""
