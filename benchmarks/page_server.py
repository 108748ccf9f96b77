"""How soon the page answers and has its model: its server started, and one visitor who speaks Streamlit's protocol in a browser's place."""

import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyperf

from benchmarks.errors import BenchmarkError, NotMeasuredError

PATIENCE_S = 120.0

READY = "The model is ready"
"""How the line begins that the server writes."""

QUIET_S = 1.5
"""No processor time used for so long: everything is loaded."""


def times_s() -> dict[str, float]:
    """Return the seconds from the command to a served address, to the first visitor's drawn page, to the model and to all readers.

    Each includes what came before it. The server tells when its model is ready. The readers are imported after
    that, as long as no case waits; their end is told by the server's processor time, which then stands still.

    Raises
    ------
    NotMeasuredError
        The extra [app] is not installed, or the system keeps no processor time in /proc.
    BenchmarkError
        The server did not answer.
    """
    try:
        from websockets.sync.client import connect
    except ModuleNotFoundError as error:
        raise NotMeasuredError(f"install {error.name} (the extra [app])") from error
    from streamlit.proto.BackMsg_pb2 import BackMsg
    from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

    if not Path("/proc/self/stat").exists():
        raise NotMeasuredError("needs /proc, as Linux has it")
    began = pyperf.perf_counter()
    with _served() as (port, process):
        times = {"served": pyperf.perf_counter() - began}
        with connect(f"ws://localhost:{port}/_stcore/stream", subprotocols=["streamlit"], max_size=None) as visit:  # type: ignore[list-item, unused-ignore]
            message = BackMsg()
            message.rerun_script.query_string = ""
            visit.send(message.SerializeToString())
            answer = ForwardMsg()
            while answer.WhichOneof("type") != "script_finished":
                answer.ParseFromString(visit.recv(timeout=PATIENCE_S))
            times["drawn"] = pyperf.perf_counter() - began
            times["ready"] = _told(process, READY) - began
            times["settled"] = _settled(process.pid) - began
    return times


def _told(process: "subprocess.Popen[str]", what: str) -> float:
    """Return when a process wrote a line that begins with *what*, which it has or will.

    Raises
    ------
    BenchmarkError
        It ended without.
    """
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith(what):
            return float(pyperf.perf_counter())
    raise BenchmarkError("gliomask app: ended before its model was loaded.")


def _settled(pid: int) -> float:
    """Return when a process last used processor time, once it has not for a while."""
    since, last = pyperf.perf_counter(), _cpu_s(pid)
    while pyperf.perf_counter() - since < QUIET_S:
        time.sleep(0.02)
        if (now := _cpu_s(pid)) > last + 0.011:  # more than a tick of its clock, which idle threads may use
            since, last = pyperf.perf_counter(), now
    return float(since)


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def _served() -> Iterator[tuple[int, "subprocess.Popen[str]"]]:
    """Yield the port and the process of ``gliomask app``, from when it answers."""
    with socket.create_server(("localhost", 0)) as probe:
        port = int(probe.getsockname()[1])
    command = [sys.executable, "-m", "gliomask", "app", "--port", str(port), "--no-browser"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = pyperf.perf_counter() + PATIENCE_S
            while not _answers(port):
                if process.poll() is not None or pyperf.perf_counter() > deadline:
                    raise BenchmarkError("gliomask app: did not answer.")
                time.sleep(0.02)
            yield port, process
        finally:
            process.terminate()


def _answers(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=5).close()
    except OSError:
        return False
    return True
