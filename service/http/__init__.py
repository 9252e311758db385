"""What is the same for every request: protocol, middleware, keys, strict parsing, problems."""
