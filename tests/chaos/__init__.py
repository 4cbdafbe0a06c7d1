"""Chaos on a real control plane: faults at every kind of request, and a law that is counted.

`python -m chaos` runs it at full length, `test_chaos.py` in a bounded form.
"""
