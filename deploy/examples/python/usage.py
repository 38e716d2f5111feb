"""Writes every usage event of an account to a file, one a line, each once: over restarts and kills of this program, of ARouter and of NATS.

The server keeps the place of the consumer. An event is acknowledged after it is on the disk, so none is lost; one that comes again is
skipped by its id.

Usage: usage.py NATS_URL FILE      needs: pip install nats-py
`arouter admin consumer create NAME --account ID` prints the address. Its user has the name of the durable consumer.
"""

import asyncio
import json
import os
import sys
from urllib.parse import urlsplit

import nats

STREAM = "USAGE"


def read_ids(file):
    """Returns the ids of the events in the file. Removes a torn last line."""
    file.seek(0)
    ids, whole = set(), 0
    for line in file:
        if not line.endswith(b"\n"):
            break
        whole += len(line)
        ids.add(json.loads(line)["id"])
    file.truncate(whole)
    file.seek(whole)
    return ids


async def follow(url, file):
    """Reads on until the connection breaks."""
    ids = read_ids(file)
    connection = await nats.connect(url, allow_reconnect=False)
    try:
        consumer = await connection.jetstream().pull_subscribe_bind(urlsplit(url).username, stream=STREAM)
        while True:
            try:
                messages = await consumer.fetch(500, timeout=5)
            except nats.errors.TimeoutError:
                # A consumer that the server has lost would be silent for ever.
                await consumer.consumer_info()
                continue
            for message in messages:
                event = json.loads(message.data)
                if event["id"] not in ids:
                    ids.add(event["id"])
                    file.write(message.data + b"\n")
            file.flush()
            os.fsync(file.fileno())
            for message in messages:
                await message.ack()
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
