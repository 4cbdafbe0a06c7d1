"""What the operator costs, measured from outside and held against its targets.

`python -m bench` measures every row of the table in docs/benchmarks.md on a control plane of its
own, `python -m bench.soak` watches one process for leaks, `test_bench.py` runs both in small.
"""
