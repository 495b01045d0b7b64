"""Runs as Ray tasks, on one machine or a cluster that shares the folders of data and runs."""

from __future__ import annotations

import json
import os
import socket
import time
from dataclasses import replace
from typing import Any

from ..errors import SelfflError, UsageError
from ..planning.plan import PlannedRun
from ..training.controls import Controls
from .elsewhere import described, train_described
from .one import POLL
from .queue import Ending

RETRIES = 3  # of a run whose worker was killed; it resumes from its checkpoint
ANSWER_SECONDS = 5.0  # seconds for a Ray head to answer
# What a client of HTTP/2, and so of gRPC, says first: a fixed text and an empty frame of settings; so is what it hears.
GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
SETTINGS = 4  # the frame's type, its fourth byte


def connect(address: str | None) -> Any:
    """The ray module, connected to `address` or to a Ray of this machine's own."""
    try:
        import ray
    except ImportError:
        raise UsageError("--launcher ray: ray is not installed; pip install 'selffl[ray]'") from None
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_worker_niceness", "0")  # 15 by default: behind everything else on the machine
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": "error", "configure_logging": True}
    if address is None:
        ray.init(address="local", include_dashboard=False, **options)
        return ray
    if address != "auto":
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            greet(host, int(port))
        except ValueError:
            raise UsageError(f"--address {address}: write HOST:PORT, ray://HOST:PORT or auto") from None
        except OSError as error:
            why = error.strerror or str(error)
            raise SelfflError(f"--address {address}: no Ray answers there ({why}); {START}") from None
    try:
        ray.init(address=address, **options)
    except Exception as error:
        why = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        hint = START if address == "auto" else TOKEN
        raise SelfflError(f"--address {address}: cannot join a Ray there ({why}); {hint}") from None
    return ray


def greet(host: str, port: int) -> None:
    """OSError unless something that could be a Ray listens there: Ray itself would wait for minutes."""
    with socket.create_connection((host, port), ANSWER_SECONDS) as connection:
        if os.environ.get("RAY_USE_TLS", "0") not in ("0", "false"):
            return
        connection.sendall(GREETING)
        answer = connection.recv(9)
        if len(answer) < 4 or answer[3] != SETTINGS:
            raise OSError("what listens there is no Ray")


START = "start one with `ray start --head`, or leave --address away to use this machine"
TOKEN = "where that Ray asks for a token, as Ray 2.60 does by default, set RAY_AUTH_MODE=token and have its token here"


class RayJobs:
    """Runs as tasks of one core each and `gpus` GPUs (a fraction shares one)."""

    waits = True

    def __init__(self, address: str | None, gpus: float, controls: Controls) -> None:
        self.ray, self.gpus = connect(address), gpus
        self.controls = replace(controls, device="cuda" if gpus else "cpu")
        self.task = self.ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(train_described)
        self.running: dict[Any, PlannedRun] = {}
        if gpus and not self.ray.cluster_resources().get("GPU"):
            self.ray.shutdown()
            raise UsageError(f"--gpus-per-run {gpus}: this Ray has no GPU")

    def free(self) -> int:
        total = self.ray.cluster_resources()
        slots = total.get("CPU", 1.0)
        if self.gpus:
            slots = min(slots, total.get("GPU", 0.0) / self.gpus)
        return int(slots) - len(self.running)

    def start(self, run: PlannedRun) -> None:
        self.running[self.task.remote(described(run, self.controls))] = run

    def ended(self) -> list[tuple[PlannedRun, Ending]]:
        if not self.running:
            time.sleep(POLL)
            return []
        done, _ = self.ray.wait(list(self.running), num_returns=1, timeout=POLL)
        return [(self.running.pop(reference), self._ending(reference)) for reference in done]

    def _ending(self, reference: Any) -> Ending:
        try:
            return Ending(**json.loads(self.ray.get(reference)))
        except self.ray.exceptions.TaskCancelledError:
            return Ending("stopped")
        except Exception as error:
            why = str(error).strip().splitlines()[0]
            return Ending("failed", f"{type(error).__name__}: {why} (after {RETRIES} retries)")

    def stop(self) -> None:
        for reference in self.running:
            self.ray.cancel(reference)  # arrives as SIGINT: the run saves and ends

    def close(self) -> None:
        self.ray.shutdown()
