"""The ablation that explains Artsy's default: gates, consolidation, and what a further pass buys."""
