"""Self-check: is everything in order for a run here? One module for each group of checks."""
