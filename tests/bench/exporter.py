"""The scores of all models on one page, which Prometheus scrapes."""

from collections.abc import Iterable

from support.scores import Scores

CALM, HIGH = 0.05, 0.9


class Exporter(Scores):
    """Scores that change together: no scrape sees half of a change."""

    def set_all(self, models: Iterable[str], value: float) -> None:
        """Give many models one score."""
        with self._lock:
            for model in models:
                self._lines[model] = [f'model_drift_score{{model="{model}"}} {value}']

    def drop(self, models: Iterable[str]) -> None:
        """Let the series of models end."""
        with self._lock:
            for model in models:
                self._lines.pop(model, None)
