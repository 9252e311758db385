"""Everything that learns: the supervisor that claims tasks, and the learn process it spawns."""
