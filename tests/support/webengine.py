"""The Chromium inside Qt WebEngine, as a headless process with a debugging port.

    python -m support.webengine PORT

For machines without a Chromium of their own: PyQt6-WebEngine ships one. It has no window, prints
the address of its port as Chromium does, and runs until it is ended.
"""

import os
import sys


def main() -> None:
    """Open an empty page and wait."""
    os.environ["QT_QPA_PLATFORM"] = "offscreen"
    os.environ["QTWEBENGINE_DISABLE_SANDBOX"] = "1"
    os.environ["QTWEBENGINE_CHROMIUM_FLAGS"] = "--disable-gpu"
    os.environ["QTWEBENGINE_REMOTE_DEBUGGING"] = f"127.0.0.1:{sys.argv[1]}"
    from PyQt6.QtCore import QUrl
    from PyQt6.QtWebEngineWidgets import QWebEngineView
    from PyQt6.QtWidgets import QApplication

    application = QApplication(sys.argv[:1])
    view = QWebEngineView()
    view.resize(1280, 900)
    view.setUrl(QUrl("about:blank"))
    view.show()
    sys.exit(application.exec())


if __name__ == "__main__":
    main()
