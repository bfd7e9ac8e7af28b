"""A real MLflow server on loopback, and a gate before it that asks for a name and a password."""

from __future__ import annotations

import base64
import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from ctrgate.tracking import TrackingConfig, connect, probe


class MlflowServer:
    """``mlflow server`` on a database and a folder of artifacts, which outlive it."""

    def __init__(self, folder: Path, *, workers: int = 1) -> None:
        self.folder, self.database = folder, folder / "server.db"
        self.port = free_port()
        self.tracking = TrackingConfig(uri=f"http://127.0.0.1:{self.port}", timeout_seconds=60)
        self._command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        self._command += ["--workers", str(workers), "--backend-store-uri", f"sqlite:///{self.database}"]
        self._command += ["--serve-artifacts", "--artifacts-destination", str(folder / "served")]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it answers."""
        connect(TrackingConfig(uri=f"sqlite:///{self.database}"))  # which lays the database out where it is missing
        with (self.folder / "server.log").open("a") as log:
            environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"}
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, env=environment, process_group=0, cwd=self.folder
            )
        give_up = time.monotonic() + 120
        while probe(self.tracking) is not None:
            assert time.monotonic() < give_up, (self.folder / "server.log").read_text()[-2_000:]
            time.sleep(0.5)

    def stop(self, number: int = signal.SIGTERM) -> None:
        """End it, all of its processes."""
        if self._process is not None:
            os.killpg(self._process.pid, number)
            self._process.wait(timeout=30)
            self._process = None


@contextmanager
def served(folder: Path, *, workers: int = 1) -> Iterator[MlflowServer]:
    """A server that answers, until the block ends."""
    server = MlflowServer(folder, workers=workers)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@contextmanager
def gate(server: MlflowServer, *, name: str, password: str) -> Iterator[str]:
    """The address of a gate that hands requests on where they name whom it knows, and answers 401 to the others."""
    known = "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") != known:
                status, kind, found = 401, "text/plain", b"You are not authenticated."
            else:
                onward = http.client.HTTPConnection("127.0.0.1", server.port)
                kept = {key: value for key, value in self.headers.items() if key not in ("Host", "Authorization")}
                onward.request(self.command, self.path, body=content, headers=kept)
                answer = onward.getresponse()
                status, kind, found = answer.status, answer.headers["Content-Type"], answer.read()
                onward.close()
            self.send_response(status)
            self.send_header("Content-Type", kind or "application/json")
            self.send_header("Content-Length", str(len(found)))
            self.end_headers()
            self.wfile.write(found)

        def log_message(self, *_: object) -> None:
            pass

    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        setattr(Handler, f"do_{method}", Handler.answer)
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=proxy.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join()


def free_port() -> int:
    """A port where nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
