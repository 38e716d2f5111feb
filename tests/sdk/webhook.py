"""A receiver of webhooks with the official library of Standard Webhooks verifies every delivery, and refuses a forged one.

Usage: webhook.py BASE_URL LIVE_KEY MANAGEMENT_KEY      needs: pip install standardwebhooks openai
"""

import json
import queue
import sys
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai import OpenAI
from standardwebhooks import Webhook, WebhookVerificationError

base_url, live_key, management_key = sys.argv[1:]
api = base_url.replace("/v1", "/api/v1")
deliveries = queue.Queue()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        deliveries.put((body, {name.lower(): value for name, value in self.headers.items()}))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


def call(path, body):
    headers = {"authorization": f"Bearer {management_key}", "content-type": "application/json"}
    request = urllib.request.Request(api + path, json.dumps(body).encode(), headers)
    return json.load(urllib.request.urlopen(request))


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
threading.Thread(target=server.serve_forever, daemon=True).start()
made = call("/webhooks", {"name": "python", "url": f"http://127.0.0.1:{server.server_port}/", "event_types": ["usage", "request.finished"]})
webhook = Webhook(made["secret"])
client = OpenAI(base_url=base_url, api_key=live_key)
answer = client.chat.completions.create(model="simulated/echo", messages=[{"role": "user", "content": "Hello, webhooks!"}])

seen = {}
while len(seen) < 2:
    body, headers = deliveries.get(timeout=30)
    event = webhook.verify(body, headers)
    assert event["id"] == headers["webhook-id"]
    seen[event["type"]] = event
    try:
        webhook.verify(body.replace(b'"', b"'", 1), headers)
        raise SystemExit("a forged body was accepted")
    except WebhookVerificationError:
        pass
usage = seen["arouter.usage.recorded.v1"]
assert usage["data"]["cost_nanos"] == round(answer.usage.cost * 1e9), usage
assert seen["arouter.request.finished.v1"]["data"]["outcome"] == "finished"

# After a rotation, receivers with the old secret and receivers with the new one accept the same delivery.
rotated = call(f"/webhooks/{made['data']['id']}/rotate-secret", {})
while True:
    call(f"/webhooks/{made['data']['id']}/test", {})
    body, headers = deliveries.get(timeout=30)
    webhook.verify(body, headers)
    if " " in headers["webhook-signature"]:
        break
Webhook(rotated["secret"]).verify(body, headers)
print("     2  deliveries verified by standardwebhooks, and one with two secrets")
