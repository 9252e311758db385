"""What the service and the worker both remember: rows, queries and blobs. No web, no queue, no tensors."""
