"""Writes every usage event of ARouter to a file, one a line, each once: over restarts and kills of this program, of ARouter and of NATS.

The file is the place: its last whole line says up to where the stream was read. So no event is lost or written twice, and nothing needs
to be acknowledged. If the stream was made anew, it is read from its start, and events that the file has are skipped by their id.

Usage: usage.py NATS_URL FILE      needs: pip install nats-py
The address, with the reader's credentials, is `nats_url` in first-run.json.
"""

import asyncio
import json
import os
import sys

import nats
from nats.js.api import AckPolicy, ConsumerConfig, DeliverPolicy

STREAM, SUBJECT = "USAGE", "arouter.v1.usage.>"


def read_place(file):
    """Returns the stream's identity and sequence behind the last whole line, and the ids of all lines. Removes a torn last line."""
    identity, sequence, ids, whole = None, 0, set(), 0
    for line in file:
        if not line.endswith(b"\n"):
            break
        whole += len(line)
        row = json.loads(line)
        identity, sequence = row["stream"], row["sequence"]
        ids.add(row["event"]["id"])
    file.truncate(whole)
    file.seek(whole)
    return identity, sequence, ids


async def follow(url, file):
    """Reads on from the file's place until the connection breaks."""
    file.seek(0)
    identity, sequence, ids = read_place(file)
    connection = await nats.connect(url, allow_reconnect=False)
    try:
        jetstream = connection.jetstream()
        info = await jetstream.stream_info(STREAM)
        created = str(info.created)
        start = sequence + 1 if identity == created and sequence <= info.state.last_seq else 1
        config = ConsumerConfig(
            deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=start, ack_policy=AckPolicy.NONE, inactive_threshold=60
        )
        consumer = await jetstream.pull_subscribe(SUBJECT, stream=STREAM, config=config)
        expected = 1
        while True:
            try:
                messages = await consumer.fetch(500, timeout=5)
            except nats.errors.TimeoutError:
                # A consumer that the server has lost would be silent for ever.
                await consumer.consumer_info()
                continue
            for message in messages:
                if message.metadata.sequence.consumer != expected:
                    raise ConnectionError("a message was lost on the way")
                expected += 1
                event = json.loads(message.data)
                if event["id"] in ids:
                    continue
                ids.add(event["id"])
                row = {"stream": created, "sequence": message.metadata.sequence.stream, "event": event}
                file.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    finally:
        await connection.close()


async def main(url, path):
    with open(path, "a+b") as file:
        while True:
            try:
                await follow(url, file)
            except (OSError, asyncio.TimeoutError, nats.errors.Error) as error:
                print(f"reading again in a second: {error!r}", file=sys.stderr)
                await asyncio.sleep(1)


asyncio.run(main(*sys.argv[1:]))
