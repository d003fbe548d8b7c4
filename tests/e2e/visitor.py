"""A client without a browser: opens sessions by WebSocket, and uploads by bare PUT, as an
attacker's script would."""

import contextlib
import socket
import time
from http.cookies import SimpleCookie
from pathlib import Path
from urllib.request import urlopen

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.sync.client import connect
from websockets.typing import Origin

PART = b"0" * 2**20
_EDGE = b"--edge"
_HEAD = _EDGE + b'\r\nContent-Disposition: form-data; name="file"; filename="rows.tsv"\r\n\r\n'
_TAIL = b"\r\n" + _EDGE + b"--\r\n"


class Session:
    """A session on a page, drawn to its end."""

    def __init__(self, port: int, page: str = "") -> None:
        own = f"127.0.0.1:{port}"
        address, origin = f"ws://{own}/_stcore/stream", Origin(f"http://{own}")
        self.socket = connect(address, origin=origin, max_size=None, legacy=True)
        self.id = ""
        self.draw(page)

    def draw(self, page: str) -> None:
        """Goes to a page and waits until it is drawn."""
        asked = BackMsg()
        asked.rerun_script.page_name = page
        self.socket.send(asked.SerializeToString())
        told = ForwardMsg()
        while not told.HasField("script_finished"):
            told.ParseFromString(self.socket.recv(timeout=60))
            self.id = told.new_session.initialize.session_id or self.id

    def close(self) -> None:
        """Closes the tab."""
        self.socket.close()


def put(port: int, session: str, file: str, size: int, chunked: bool = False) -> int:
    """Upload `size` bytes with a valid token and return the status, 0 if the connection was cut."""
    with urlopen(f"http://127.0.0.1:{port}/_stcore/health") as answer:
        token = SimpleCookie(answer.headers["Set-Cookie"])["_streamlit_xsrf"].value
    length = f"Content-Length: {len(_HEAD) + size + len(_TAIL)}"
    lines = [
        f"PUT /_stcore/upload_file/{session}/{file} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"X-Xsrftoken: {token}",
        f"Cookie: _streamlit_xsrf={token}",
        "Content-Type: multipart/form-data; boundary=edge",
        "Transfer-Encoding: chunked" if chunked else length,
    ]

    def send(part: bytes) -> None:
        connection.sendall(b"%x\r\n%s\r\n" % (len(part), part) if chunked else part)

    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        with contextlib.suppress(OSError):
            for part in (_HEAD, *[PART] * (size // len(PART)), _TAIL):
                send(part)
            if chunked:
                connection.sendall(b"0\r\n\r\n")
        try:
            return int(connection.recv(64).split()[1])
        except (OSError, IndexError):
            return 0


def memory(pid: int) -> int:
    """Bytes that a process has in memory."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(
        int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS")
    )


def falls_below(pid: int, limit: int, seconds: float = 30) -> bool:
    """Whether the process comes to have less than `limit` bytes in memory."""
    deadline = time.monotonic() + seconds
    while memory(pid) >= limit and time.monotonic() < deadline:
        time.sleep(0.2)
    return memory(pid) < limit
