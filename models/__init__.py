"""The learning core: PyTorch and timm. Knows nothing of the service, the worker or the registry."""
