"""A plain NATS client reads the three public families and validates every event against the JSON Schemas.

Usage: events.py NATS_URL [SCHEMAS_FOLDER]      needs: pip install nats-py jsonschema
The address, with the reader's credentials, is `nats_url` in first-run.json.
"""

import asyncio
import json
import pathlib
import sys
from collections import Counter

import jsonschema
import nats
from nats.js.api import ConsumerConfig

url = sys.argv[1]
folder = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else pathlib.Path(__file__).parents[2] / "schemas/events/json")


async def main():
    connection = await nats.connect(url)
    jetstream = connection.jetstream()
    seen = Counter()
    for stream, subject in [("REQUESTS", "arouter.v1.request.>"), ("USAGE", "arouter.v1.usage.>"), ("CONTROL", "arouter.v1.key.>")]:
        # CONTROL also has events that are private: its readers need a name, so that their filter stands in the subject of the request.
        named = ConsumerConfig(name=f"events-{stream.lower()}")
        reader = await jetstream.subscribe(subject, stream=stream, ordered_consumer=True, config=named)
        while True:
            try:
                message = await reader.next_msg(timeout=1)
            except nats.errors.TimeoutError:
                break
            event = json.loads(message.data)
            schema = json.loads((folder / event["dataschema"]).read_text())
            jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker()).validate(event)
            assert message.headers["Nats-Msg-Id"] == event["id"]
            seen[event["type"]] += 1
        await reader.unsubscribe()
    await connection.close()
    for kind, count in sorted(seen.items()):
        print(f"{count:6}  {kind}")
    assert {"arouter.request.started.v1", "arouter.request.finished.v1", "arouter.usage.recorded.v1", "arouter.key.created.v1"} <= set(seen), seen


asyncio.run(main())
