"""Exhaustive exploration of "exactly one Job per decision", on the real code."""
