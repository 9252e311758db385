"""What operators do to a whole installation: back up, restore, inspect, collect. Nothing else here needs it."""
