"""What the three vendors share: the way of a request, its record, and the control endpoint `GET /_state`."""

import asyncio
import json
import struct
import time
import traceback
import zlib

from .records import Records
from .refusal import Refusal
from .script import Fault
from .server import Cut, Reply, Request, Server, Stream

ENDLESS_SECONDS_MAX = 60
ENDLESS_PAUSE_SECONDS = 0.02


class Vendor:
    """A simulated vendor. A subclass has `route`, which returns a reply, and `refused`, which writes an error in its own shape."""

    key = "secret"

    def __init__(self):
        self.records = Records()
        self.server = Server(self.handle)

    async def handle(self, request: Request) -> Reply | Stream:
        if request.path == "/_state":
            return Reply(200, {"open_connections": self.server.open_connections, **self.records.state(request.query.get("mark", ""))})
        if request.path == "/_picture.png":
            return Reply(200, PICTURE, {"content-type": "image/png"})
        body, problem = parse(request)
        entry = self.records.request(request, body)
        try:
            self.authorize(request)
            if problem is not None:
                raise Refusal(problem)
            reply = self.route(request, body, entry)
        except Refusal as refusal:
            entry["error"] = refusal.message
            reply = self.refused(refusal)
        except Fault as fault:
            reply = self.refused(Refusal(f"This is the status {fault.status} that the text asked for.", status=fault.status))
        except Exception as error:
            # A bug of the simulator, or a request of a shape that no check foresees.
            traceback.print_exc()
            entry["error"] = f"simulator: {error!r}"
            reply = self.refused(Refusal(entry["error"], status=500))
        entry["status"] = reply.status if isinstance(reply, Reply) else 200
        return reply

    def stream(self, frames: list, act, text: str, more=None, **options) -> Stream:
        """Returns a stream of frames. `more` makes one more frame of text, for an endless stream."""
        entry = self.records.stream(text)

        async def run():
            for frame in frames[: max(1, len(frames) // 2)] if act.fault else frames:
                entry["frames"] += 1
                yield frame
            if act.fault == "cut":
                raise Cut
            until = time.monotonic() + ENDLESS_SECONDS_MAX
            while act.fault == "endless" and time.monotonic() < until:
                await asyncio.sleep(ENDLESS_PAUSE_SECONDS)
                entry["frames"] += 1
                yield more
            entry["ended_at"] = time.time()

        return Stream(run(), closed=lambda: entry.update(closed_at=time.time()), **options)


def parse(request: Request):
    """Returns the body of a request, and what is wrong with it."""
    if request.method != "POST":
        return None, None
    try:
        body = json.loads(request.body)
    except ValueError:
        return None, "We could not parse the JSON body of your request."
    return body, None if isinstance(body, dict) else "The JSON body must be an object."


def sse(data, event: str | None = None) -> bytes:
    name = f"event: {event}\n" if event else ""
    text = data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)
    return f"{name}data: {text}\n\n".encode()


def png() -> bytes:
    """Returns a picture of one white point."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\x00\xff")) + chunk(b"IEND", b"")


PICTURE = png()
