"""Several tasks at once: one model that is smaller than the sum of those for each."""
