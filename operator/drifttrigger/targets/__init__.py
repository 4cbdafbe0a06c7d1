"""What a Retraining starts."""
