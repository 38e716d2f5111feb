"""A plain NATS client with the reader's address reads the three public families, by pull and by push consumers, and nothing else.

Usage: reader.py NATS_URL      needs: pip install nats-py
"""

import asyncio
import json
import sys
from collections import Counter

import nats
from nats.js.api import AckPolicy, ConsumerConfig
from nats.js.errors import APIError

url = sys.argv[1]
FAMILIES = [("REQUESTS", "arouter.v1.request.>"), ("USAGE", "arouter.v1.usage.>"), ("CONTROL", "arouter.v1.key.>")]


def config(name):
    # CONTROL also has events that are private: its consumers need a name, so that the filter stands in the subject of the request.
    return ConsumerConfig(name=name, ack_policy=AckPolicy.NONE)


async def rest(next_message):
    """Every event until none comes for a second."""
    events = []
    while True:
        try:
            message = await next_message()
        except nats.errors.TimeoutError:
            return events
        events.append((message.subject, json.loads(message.data)))


async def refused(connection, refusals, attempt):
    """The server refuses in words that belong to no call: nats-py hands them to `error_cb`."""
    before = len(refusals)
    try:
        await attempt()
        await connection.flush()
    except (nats.errors.Error, APIError):
        pass
    for _ in range(50):
        if len(refusals) > before:
            return True
        await asyncio.sleep(0.02)
    return False


async def main():
    refusals = []

    async def on_error(error):
        refusals.append(str(error))

    connection = await nats.connect(url, error_cb=on_error)
    jetstream = connection.jetstream(timeout=2)
    seen = Counter()
    for stream, subject in FAMILIES:
        push = await jetstream.subscribe(subject, stream=stream, ordered_consumer=True, config=config(f"push-{stream.lower()}"))
        pushed = await rest(lambda: push.next_msg(timeout=1))
        await push.unsubscribe()

        pull = await jetstream.pull_subscribe(subject, stream=stream, config=config(f"pull-{stream.lower()}"))

        async def next_pulled():
            return (await pull.fetch(1, timeout=1))[0]

        pulled = await rest(next_pulled)
        assert pushed and pulled[: len(pushed)] == pushed, f"{stream}: push gave {len(pushed)}, pull {len(pulled)}"
        prefix = subject.removesuffix(">")
        assert all(of.startswith(prefix) for of, _ in pulled), stream
        seen.update(event["type"] for _, event in pulled)
    assert not refusals, refusals

    # The streams whose events are all public can be found by a subject, and need no name.
    named = await jetstream.subscribe("arouter.v1.usage.>", ordered_consumer=True)
    assert await rest(lambda: named.next_msg(timeout=1))
    await named.unsubscribe()
    durable = await jetstream.pull_subscribe("arouter.v1.request.>", durable="billing")
    for message in await durable.fetch(2, timeout=2):
        await message.ack_sync()

    attempts = {
        "publish": lambda: jetstream.publish("arouter.v1.usage.0.forged", b"{}"),
        "publish a fact": lambda: connection.publish("arouter.v1.ledger.0.forged.credit_posted", b"{}"),
        "ask": lambda: connection.request("arouter.v1.ask.ledger.credit", b"{}", timeout=1),
        "purge": lambda: jetstream.purge_stream("USAGE"),
        "delete": lambda: jetstream.delete_stream("LEDGER"),
        "make a stream": lambda: jetstream.add_stream(name="OTHER", subjects=["other"]),
        "read LEDGER": lambda: jetstream.subscribe("arouter.v1.ledger.>", stream="LEDGER", ordered_consumer=True),
        "read accounts": lambda: jetstream.subscribe("arouter.v1.account.>", stream="CONTROL", config=config("accounts")),
        "listen to everything": lambda: connection.subscribe(">"),
        "listen to questions": lambda: connection.subscribe("arouter.v1.ask.>"),
    }
    for name, attempt in attempts.items():
        assert await refused(connection, refusals, attempt), f"{name} is not refused"
    await connection.close()

    for kind, count in sorted(seen.items()):
        print(f"{count:6}  {kind}")
    print(f"{len(attempts):6}  attempts at anything else, all refused")
    assert {"arouter.request.started.v1", "arouter.request.finished.v1", "arouter.usage.recorded.v1", "arouter.key.created.v1"} <= set(seen), seen


asyncio.run(main())
