"""Serve the page with Streamlit, on this machine alone unless told otherwise."""

import errno
import logging
import os
import socket
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from gliomask.app.settings import STREAMLIT
from gliomask.errors import EngineError, InputError

PAGE = Path(__file__).with_name("page.py")

BELOW = "STREAMLIT_SERVER_BASE_URL_PATH"
"""Streamlit's variable for the path that the page is served at; the page's root is nothing then."""

HOSTS = "STREAMLIT_SERVER_ALLOWED_HOSTS"
"""Streamlit's variable for the names that the page may be asked for by, such as a reverse proxy's."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")
"""Names of this machine to itself."""


def launch(
    host: str = "localhost", port: int = 8501, *, browser: bool = True, announce: Callable[[str], None] = lambda address: None
) -> int:
    """Serve the page until it is interrupted (Ctrl-C), and return the exit code.

    Parameters
    ----------
    host
        Name or address to listen on.
    port
        TCP port to listen on.
    browser
        Whether to open a browser at the page.
    announce
        Called with the page's address before it is served.

    Raises
    ------
    EngineError
        Streamlit is not installed.
    InputError
        Nothing can listen at that host and port, such as when another program does.
    """
    if find_spec("streamlit") is None:
        raise EngineError("The web page needs Streamlit. Install it: pip install 'gliomask[app]'.")
    check_free(host, port)
    announce("/".join(filter(None, (f"http://{f'[{host}]' if ':' in host else host}:{port}", os.environ.get(BELOW, "").strip("/")))))
    from streamlit import net_util  # a second, and half of Streamlit
    from streamlit.web import cli

    # Streamlit asks a server at Amazon for this machine's public address, to print it and to compare
    # foreign origins with it. The page promises that there is no network.
    net_util.get_external_ip = lambda: None

    logging.getLogger("uvicorn.error").addFilter(is_no_departure)
    # Streamlit's welcome, in the terminal and on the page, advertises tools for developers; the command line says where the page is.
    welcome = {"logger.hideWelcomeMessage": True}
    # Sites of Streamlit's hosting may by default steer a page that they frame, and have its uploads sent to themselves.
    steered = {"client.allowedOrigins": f"http://localhost:{port}"}
    options = {**STREAMLIT, **welcome, **steered, "server.address": host, "server.port": port, "server.headless": not browser}
    flags = [f"--{name}={str(value).lower() if isinstance(value, bool) else value}" for name, value in options.items()]
    if host in LOOPBACK and not {BELOW, HOSTS} & os.environ.keys():  # a foreign name for this machine is somebody's trick (DNS rebinding)
        flags += [f"--server.allowedHosts={name}" for name in LOOPBACK]
    # In this process: Streamlit's own handling of Ctrl-C and SIGTERM ends it, and no child is left behind.
    cli.main(["run", str(PAGE), *flags], prog_name="streamlit", standalone_mode=False)
    return 0


def is_no_departure(record: logging.LogRecord) -> bool:
    """Return whether what the server logs is something else than a visitor who left in the middle of an upload."""
    from starlette.requests import ClientDisconnect  # comes with Streamlit

    return record.exc_info is None or not isinstance(record.exc_info[1], ClientDisconnect)


def check_free(host: str, port: int) -> None:
    """Check that the page can listen at *host* and *port*.

    Raises
    ------
    InputError
        It cannot; the message says why and what to do.
    """
    if not 0 < port < 2**16:
        raise InputError(f"Port {port}: not between 1 and {2**16 - 1}. Choose another --port.")
    try:
        places = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise InputError(
            f"{host}: not a name or address of this machine ({error.strerror or error}). Choose another --host, such as localhost."
        ) from error
    for family, kind, protocol, _, address in places:
        try:
            with socket.socket(family, kind, protocol) as listener:
                if os.name == "posix":  # there it skips ports still in TIME_WAIT; on Windows it would steal the port
                    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                listener.bind(address)
        except OSError as error:
            if family == socket.AF_INET6 and len(places) > 1 and error.errno != errno.EADDRINUSE:
                continue  # a machine without IPv6 may still have the name for it
            reason, another = error.strerror or error, port % 65000 + 1
            raise InputError(f"Cannot listen on {host}:{port} ({reason}). Choose another port, such as --port {another}.") from error
