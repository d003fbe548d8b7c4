"""A browser session without a browser, over a WebSocket that speaks Streamlit's protocol.

It opens pages, reads every message, asks for the reruns of fragments that the page wants every so
often, and measures the seconds from each request until the server says that the script has
finished: the server's time, whatever a browser would need to draw it.
"""

import asyncio
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

LIMIT = 60.0
"""Seconds after which an answer counts as missing."""
WORD = re.compile(rb"word-(\d+)-\d+")
NOTHING = b"No run matches the filters"
"""What Compare shows if no run contains a word."""
ENDED = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)

RecordFn = Callable[[str, float, int], None]
"""Takes (what was requested, seconds until the answer, bytes of the answer)."""


@dataclass
class Session:
    """One browser tab.

    Attributes:
        url: of the server.
        number: of this session; its search words contain it.
        record: called with every answer.
        foreign: words of other sessions that arrived here.
        lost: own words that did not come back.
        unanswered: requests that took longer than LIMIT, or whose connection broke.
        broken: exceptions on pages.
    """

    url: str
    number: int
    record: RecordFn
    foreign: int = 0
    lost: int = 0
    unanswered: int = 0
    broken: int = 0
    _socket: ClientConnection | None = None
    _script: str = ""
    _query: str = ""
    _typed: dict[str, str] = field(default_factory=dict)
    _fields: dict[str, str] = field(default_factory=dict)
    _ticking: dict[str, tuple[float, float]] = field(default_factory=dict)
    _cached: set[str] = field(default_factory=set)
    _words: int = 0
    _searched: bool = False

    async def close(self) -> None:
        """Close the tab."""
        if self._socket:
            await self._socket.close()
        self._socket, self._searched = None, False

    async def look(self, page: str, query: str = "") -> None:
        """Go to a page, in a new tab if none is open, and record the time under the page's name."""
        self._typed.clear()
        self._query = query
        message = BackMsg()
        message.rerun_script.page_name = page
        await self._ask(page or "home", message)

    async def write(self, page: str, label: str, answer: bytes = b"") -> None:
        """Type a new word into a text field; the page must then show `answer`, or else the word."""
        if label not in self._fields:
            # The page was not answered, or is another one by now.
            return
        self._words += 1
        word = f"word-{self.number}-{self._words}"
        self._typed[self._fields[label]] = word
        self._searched |= bool(answer)
        for _ in range(2):
            message = BackMsg()
            message.rerun_script.page_script_hash = self._script
            before = self.unanswered
            found = await self._ask(f"{page}, typed", message)
            self.lost += (answer or word.encode()) not in found and self.unanswered == before

    async def stay(self, seconds: float, page: str) -> None:
        """Stay on the open page for this long, and answer its fragments' requests to run again."""
        deadline = time.monotonic() + seconds
        while (now := time.monotonic()) < deadline:
            due = min(self._ticking, key=lambda one: self._ticking[one][1], default=None)
            if due is None or self._ticking[due][1] > deadline:
                await asyncio.sleep(deadline - now)
                return
            await asyncio.sleep(max(0.0, self._ticking[due][1] - now))
            message = BackMsg()
            message.rerun_script.page_script_hash = self._script
            message.rerun_script.fragment_id = due
            message.rerun_script.is_auto_rerun = True
            self._ticking[due] = (self._ticking[due][0], time.monotonic() + self._ticking[due][0])
            await self._ask(f"{page}, live", message)

    async def _ask(self, what: str, message: BackMsg) -> bytes:
        """Send the request and read until it is answered; return all messages, "" after LIMIT."""
        state = message.rerun_script
        state.query_string = self._query
        state.cached_message_hashes.extend(self._cached)
        state.widget_states.widgets.extend(
            WidgetState(id=one, string_value=word) for one, word in self._typed.items()
        )
        began = time.monotonic()
        try:
            parts = await asyncio.wait_for(self._answer(message, bool(state.fragment_id)), LIMIT)
        except (TimeoutError, OSError, WebSocketException):
            self.unanswered += 1
            await self.close()
            self._ticking.clear()
            self._fields.clear()
            return b""
        self.record(what, time.monotonic() - began, len(parts))
        self.foreign += sum(int(number) != self.number for number in WORD.findall(parts))
        # A tab that has looked for a word before finds it again when it comes back.
        self.foreign += NOTHING in parts and not self._searched
        return parts

    async def _answer(self, message: BackMsg, of_fragment: bool) -> bytes:
        if self._socket is None:
            address = f"ws{self.url.removeprefix('http')}/_stcore/stream"
            self._socket = await connect(address, subprotocols=["streamlit"], max_size=None)  # type: ignore[list-item]
            self._cached.clear()
        if not of_fragment:
            self._ticking.clear()
            self._fields.clear()
        await self._socket.send(message.SerializeToString())
        came = []
        while True:
            data = await self._socket.recv()
            assert isinstance(data, bytes)
            came.append(data)
            part = ForwardMsg.FromString(data)
            self._read(part)
            if part.WhichOneof("type") == "script_finished" and part.script_finished in ENDED:
                return b"".join(came)

    def _read(self, part: ForwardMsg) -> None:
        kind = part.WhichOneof("type")
        if part.metadata.cacheable and part.hash:
            self._cached.add(part.hash)
        if kind == "navigation":
            self._script = part.navigation.page_script_hash
        elif kind == "page_info_changed":
            self._query = part.page_info_changed.query_string
        elif kind == "auto_rerun":
            seconds = part.auto_rerun.interval
            self._ticking[part.auto_rerun.fragment_id] = (seconds, time.monotonic() + seconds)
        elif kind == "delta" and part.delta.WhichOneof("type") == "new_element":
            element = part.delta.new_element
            if element.WhichOneof("type") == "text_input":
                self._fields[element.text_input.label] = element.text_input.id
            self.broken += element.WhichOneof("type") == "exception"
