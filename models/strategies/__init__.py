"""One file (or folder) a learning strategy, the contract they share, and the catalog that lists them."""
