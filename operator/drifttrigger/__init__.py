"""drifttrigger: a Kubernetes operator that retrains models when they drift."""

__version__ = "0.1.0"
