"""How soon what is learned is answered, and what it costs: a real service and its worker, as processes."""
