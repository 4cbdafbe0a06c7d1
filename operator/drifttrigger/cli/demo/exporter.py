"""The model server of the demo: one page for Prometheus to scrape.

It shows exactly what the story tells it to: a score, NaN, nothing, or a second series.
"""

import math
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from drifttrigger.local.ports import HOST

METRIC = "model_drift_score"
MODEL = "fraud-detector"
# Of every series, scraped and backfilled, so that both are one.
TARGET_LABELS = {"job": "models", "instance": "model-server"}
_HEADER = (
    f"# HELP {METRIC} How far the model's inputs are from those it was trained on.\n"
    f"# TYPE {METRIC} gauge\n"
)
_LARGEST_BODY = 100


class Exporter:
    """Serves scores on loopback until the block ends."""

    def __init__(self) -> None:
        self._page = _HEADER
        self._server = ThreadingHTTPServer((HOST, 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.1,), name="exporter", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def address(self) -> str:
        """`host:port` that answers at /metrics."""
        return f"{HOST}:{self._server.server_port}"

    @property
    def page(self) -> str:
        """What a scrape gets now."""
        return self._page

    def show(self, score: float) -> None:
        """Serve one score."""
        self._page = _HEADER + sample(score)

    def show_nothing(self) -> None:
        """Serve a page without the score."""
        self._page = _HEADER

    def show_two(self, score: float, second: float) -> None:
        """Serve a second series beside the model's own."""
        self._page = _HEADER + sample(score) + sample(second, version="canary")


def sample(score: float, **labels: str) -> str:
    """Write one line of the text format; the value reads back as the same double."""
    text = "NaN" if math.isnan(score) else repr(score)
    return f"{METRIC}{{{label_text({'model': MODEL, **labels})}}} {text}\n"


def label_text(labels: Mapping[str, str]) -> str:
    """Write labels as PromQL and the text format do; the values need no escapes here."""
    return ",".join(f'{name}="{value}"' for name, value in labels.items())


def _handler(exporter: Exporter) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path != "/metrics":
                self.send_error(404)
                return
            self._answer(200, exporter.page)

        def do_PUT(self) -> None:
            """Take a score from whoever plays with a demo that was kept."""
            length = min(int(self.headers.get("Content-Length") or 0), _LARGEST_BODY)
            try:
                score = float(self.rfile.read(length))
            except ValueError:
                self._answer(400, "send a number, as in: curl -X PUT -d 0.3\n")
                return
            exporter.show(score)
            self._answer(200, exporter.page)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base's name
            """Say nothing: the terminal is the story's."""

        def _answer(self, status: int, text: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    return Handler
