"""Numbers and pictures for people; numpy, pandas and matplotlib live here and nowhere else.

Commands import from here when they run, so that the operator and quick commands never pay for it.
"""
