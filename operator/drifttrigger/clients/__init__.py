"""Adapters to the world: the only users of network libraries and of the clock."""
