"""An exporter of drift scores that a test sets as it goes; the real Prometheus scrapes it."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Scores:
    """`model_drift_score{model="…"}` on a free port of loopback."""

    def __init__(self) -> None:
        self._lines: dict[str, list[str]] = {}
        self._lock = threading.Lock()
        scores = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = scores.text().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        """`host:port` to scrape."""
        return f"127.0.0.1:{self._server.server_port}"

    def set(self, model: str, *values: object) -> None:
        """Expose one series per value; several differ in the label `feature`; none: no series."""
        with self._lock:
            self._lines[model] = [
                f'model_drift_score{{model="{model}",feature="f{i}"}} {value}'
                for i, value in enumerate(values)
            ]

    def expose(self, group: str, lines: list[str]) -> None:
        """Expose series as they are written, in place of those of the same group."""
        with self._lock:
            self._lines[group] = lines

    def text(self) -> str:
        """Render the exposition."""
        with self._lock:
            lines = [line for group in self._lines.values() for line in group]
        return "# TYPE model_drift_score gauge\n" + "\n".join(lines) + "\n"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
