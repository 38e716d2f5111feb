"""A small HTTP/1.1 server on asyncio: keep-alive, whole and chunked answers, and notice of a client that closes its connection."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote

HEAD_BYTES_MAX = 1 << 16
BODY_BYTES_MAX = 64 << 20
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests", 500: "Internal Server Error"}


class Cut(Exception):
    """Raised by the frames of a stream: the connection ends in the middle, without an end of the answer."""


@dataclass
class Request:
    method: str
    path: str
    query: dict
    headers: dict
    body: bytes


@dataclass
class Reply:
    status: int
    body: object
    headers: dict = field(default_factory=dict)
    # An answer that is cut has the length of the whole body in its head, and half of the body.
    is_cut: bool = False

    def content(self) -> bytes:
        return self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()


@dataclass
class Stream:
    frames: AsyncIterator[bytes]
    content_type: str = "text/event-stream; charset=utf-8"
    headers: dict = field(default_factory=dict)
    # Called when the client has closed its connection before the end.
    closed: Callable[[], None] = lambda: None


Handler = Callable[[Request], Awaitable[Reply | Stream]]


class Server:
    """Serves a handler on a free loopback port."""

    def __init__(self, handler: Handler):
        self.handler = handler
        self.open_connections = 0
        self.listener = None

    async def start(self) -> str:
        self.listener = await asyncio.start_server(self.serve, "127.0.0.1", 0, limit=HEAD_BYTES_MAX)
        return f"http://127.0.0.1:{self.listener.sockets[0].getsockname()[1]}"

    async def serve(self, reader, writer):
        self.open_connections += 1
        try:
            while (request := await read_request(reader)) is not None:
                await answer(await self.handler(request), reader, writer)
        except (ConnectionError, Cut, asyncio.IncompleteReadError):
            writer.transport.abort()
        finally:
            self.open_connections -= 1
            writer.close()


async def read_request(reader) -> Request | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    except asyncio.IncompleteReadError:
        return None
    method, target, _ = head[0].split(" ", 2)
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
    path, _, query = target.partition("?")
    return Request(method, unquote(path), dict(parse_qsl(query, keep_blank_values=True)), headers, await read_body(reader, headers))


async def read_body(reader, headers) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        return await read_chunks(reader)
    length = int(headers.get("content-length", 0))
    if length > BODY_BYTES_MAX:
        raise ConnectionError("the body is too large")
    return await reader.readexactly(length)


async def read_chunks(reader) -> bytes:
    body = bytearray()
    while size := int((await reader.readline()).split(b";")[0], 16):
        body += await reader.readexactly(size)
        await reader.readexactly(2)
    while (await reader.readline()).strip():
        pass
    return bytes(body)


async def answer(reply, reader, writer):
    if isinstance(reply, Stream):
        await write_stream(reply, reader, writer)
    else:
        await write_whole(reply, writer)


async def write_whole(reply: Reply, writer):
    content = reply.content()
    headers = {"content-type": "application/json", **reply.headers, "content-length": len(content)}
    writer.write(head(reply.status, headers) + (content[: len(content) // 2] if reply.is_cut else content))
    await writer.drain()
    if reply.is_cut:
        raise Cut


async def write_stream(stream: Stream, reader, writer):
    headers = {"content-type": stream.content_type, **stream.headers, "transfer-encoding": "chunked"}
    writer.write(head(200, headers))
    async for frame in stream.frames:
        # The end of the client's side is seen here although nothing reads: the protocol feeds it into the reader.
        if reader.at_eof() or writer.is_closing():
            stream.closed()
            raise ConnectionError("the client has gone")
        writer.write(b"%x\r\n%s\r\n" % (len(frame), frame))
        try:
            await writer.drain()
        except ConnectionError:
            stream.closed()
            raise
    writer.write(b"0\r\n\r\n")
    await writer.drain()


def head(status: int, headers: dict) -> bytes:
    lines = [f"HTTP/1.1 {status} {REASONS.get(status, 'Status')}", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode("latin-1")
