"""The operator process: what runs when `drifttrigger operator` runs."""
