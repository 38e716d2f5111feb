"""A gateway in front of a scripted provider, which answers as the name of the model says. Both end with the `with` block."""

import contextlib
import http.server
import json
import pathlib
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request

BODY_BYTES_MAX = 65_536
# Long enough for a busy machine.
READ_TIMEOUT_MS = FIRST_BYTE_TIMEOUT_MS = 2_000
# A held answer takes that long at most, a start of the gateway too.
PATIENCE_S = 20
# The provider repeats it in its errors; no caller may see it.
PROVIDER_KEY = "sk-of-the-operator"

OWN_ERROR = {"error": {"message": "too many tokens", "type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}}
BUSY = {"error": {"message": "slow down", "type": "server_error", "param": None, "code": None}}
WRONG_KEY = {"error": {"message": f"Incorrect API key provided: {PROVIDER_KEY}", "type": "authentication_error", "code": "invalid_api_key"}}
# By model: status, headers and body.
ANSWERS = {
    "refuses": (400, {}, OWN_ERROR),
    "unprocessable": (422, {}, OWN_ERROR),
    "unauthorized": (401, {}, WRONG_KEY),
    "page": (200, {"content-type": "text/html"}, "<html>Welcome</html>"),
    "limited": (429, {"retry-after": "7"}, BUSY),
    "overloaded": (503, {"retry-after": "9"}, BUSY),
    "ok": (200, {}, {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "ok",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1},
    }),
}
# Models that answer "ok": "held" when it is released, "hanging" never.
MODELS = (*ANSWERS, "held", "hanging")
# Models of a second provider too, which answers the same.
TWICE = ("overloaded",)
SETTINGS = f"""
[server]
listen = "127.0.0.1:0"
body_bytes_max = {BODY_BYTES_MAX}
read_timeout_ms = {READ_TIMEOUT_MS}
[upstream]
first_byte_timeout_ms = {FIRST_BYTE_TIMEOUT_MS}
retry_rounds_max = 1
"""


class Provider(http.server.ThreadingHTTPServer):
    """The provider, in OpenAI's format. A held answer has begun when `is_held` is set, and ends when `is_released` is."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.is_held, self.is_released = threading.Event(), threading.Event()
        self.address = f"http://127.0.0.1:{self.server_address[1]}/v1"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        model = json.loads(self.rfile.read(int(self.headers["content-length"])))["model"]
        status, headers, body = ANSWERS.get(model, ANSWERS["ok"])
        if model == "hanging":
            time.sleep(PATIENCE_S)
        content = body.encode() if isinstance(body, str) else b" " + json.dumps(body).encode()
        self.send_response(status)
        for name, value in ({"content-type": "application/json", "content-length": str(len(content))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content[:1])
        if model == "held":
            self.wfile.flush()
            self.server.is_held.set()
            self.server.is_released.wait(PATIENCE_S)
        self.wfile.write(content[1:])

    def log_message(self, *_):
        pass


def configuration(address: str) -> str:
    blocks = [SETTINGS, provider("test", address), provider("second", address), provider("absent", "http://127.0.0.1:9/v1")]
    blocks += [model(name, "test") for name in MODELS] + [model(name, "second") for name in TWICE] + [model("unreachable", "absent")]
    return "\n".join(blocks)


def provider(slug: str, address: str) -> str:
    return f'[[providers]]\nslug = "{slug}"\nformat = "openai"\nbase_url = "{address}"\napi_key = "{PROVIDER_KEY}"'


def model(name: str, slug: str) -> str:
    """A token of an answer costs 0.001 USD, so that a bound in tokens is a hold in thousandths."""
    prices = 'prompt_usd_per_mtok = "0"\ncompletion_usd_per_mtok = "1000"\ncontext_length = 100000\nmax_output_tokens = 1000'
    return f'[[models]]\nid = "test/{name}"\nprovider = "{slug}"\nupstream_model = "{name}"\n{prices}'


class System:
    """The gateway and its provider, as they run."""

    def __init__(self, data: pathlib.Path, scripted: Provider):
        self.data, self.provider = data, scripted
        self.root = json.loads((data / "running.json").read_text())["base_url"].removesuffix("/v1")
        self.first = json.loads((data / "first-run.json").read_text())

    @property
    def operator(self) -> str:
        return (self.data / "operator.token").read_text().strip()

    def post(self, path: str, key: str, body, method="POST", **headers) -> tuple:
        """Returns the headers and the JSON of an answer; an error is raised."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json"} | headers
        request = urllib.request.Request(self.root + path, content, headers, method=method)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return answer.headers, json.load(answer)

    def key(self, management_key: str | None = None, **fields) -> dict:
        """Creates a key; returns its `hash`, and its secret as `key`."""
        made = self.post("/api/v1/keys", management_key or self.first["management_key"], {"name": "test"} | fields)[1]
        return made["data"] | {"key": made["key"]}

    @contextlib.contextmanager
    def in_flight(self, path: str, key: str, body: bytes, **headers):
        """Sends a request for the model "held", and lets it end, with a 200, when the block ends."""
        provider = self.provider
        provider.is_held.clear()
        provider.is_released.clear()
        answers = []
        sending = threading.Thread(target=lambda: answers.append(self.post(path, key, body, **headers)))
        sending.start()
        try:
            assert provider.is_held.wait(PATIENCE_S), "the request in flight has not reached the provider"
            yield
        finally:
            provider.is_released.set()
            sending.join()
        assert answers, "the request in flight has failed"


@contextlib.contextmanager
def system(program: str):
    scripted = Provider()
    threading.Thread(target=scripted.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "arouter.toml").write_text(configuration(scripted.address))
        with open(folder / "log", "w") as log:
            command = [program, "up", "--config", folder / "arouter.toml", "--data", folder / "data"]
            gateway = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            wait_for(gateway, folder)
            yield System(folder / "data", scripted)
            assert "refused the gateway with status 401" in (folder / "log").read_text(), "a wrong credential at the provider is not logged"
        finally:
            gateway.terminate()
            gateway.wait()
            scripted.shutdown()


def wait_for(gateway: subprocess.Popen, folder: pathlib.Path):
    until = time.monotonic() + PATIENCE_S
    while "Try it" not in (folder / "log").read_text():
        assert gateway.poll() is None and time.monotonic() < until, (folder / "log").read_text()
        time.sleep(0.05)
