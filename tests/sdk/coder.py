"""A model for the agents of three vendors: it asks for one shell command that prints a file, then says what the command printed.

It speaks OpenAI's Chat, whole and streamed. Usage: coder.py PORT_FILE NOTE; each round trip is one line on standard output.
"""

import http.server
import json
import pathlib
import sys

# By name of an agent's shell tool: the argument that is the command, and whether it is a list.
SHELLS = {"Bash": ("command", False), "exec_command": ("cmd", False), "shell": ("command", True), "shell_command": ("command", False), "run_shell_command": ("command", False)}
USAGE = {"prompt_tokens": 100, "completion_tokens": 10, "total_tokens": 110}


class Coder(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        message = spoken(request)
        finish = "tool_calls" if "tool_calls" in message else "stop"
        if request.get("stream"):
            chunks = [choice({"delta": message, "finish_reason": None}), choice({"delta": {}, "finish_reason": finish}), {"choices": [], "usage": USAGE}]
            body = "".join(f"data: {json.dumps(head(request, 'chat.completion.chunk') | chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
            self.reply("text/event-stream", body)
        else:
            whole = head(request, "chat.completion") | choice({"message": message, "finish_reason": finish}) | {"usage": USAGE}
            self.reply("application/json", json.dumps(whole))

    def reply(self, kind: str, body: str):
        data = body.encode()
        self.send_response(200)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


def head(request: dict, kind: str) -> dict:
    return {"id": "chatcmpl-1", "object": kind, "created": 1, "model": request["model"]}


def choice(fields: dict) -> dict:
    return {"choices": [{"index": 0} | fields]}


def spoken(request: dict) -> dict:
    """Returns the answer: a call first, then the result of it."""
    tools = {tool["function"]["name"]: tool["function"] for tool in request.get("tools", [])}
    shell = next((name for name in SHELLS if name in tools), None)
    results = [text(message["content"]) for message in request["messages"] if message["role"] == "tool"]
    if results:
        print(f"round trip with {shell}: {results[-1]!r}", flush=True)
        return {"role": "assistant", "content": f"The note says: {results[-1].strip()}"}
    if shell is None:
        return {"role": "assistant", "content": "A title"}
    name, is_list = SHELLS[shell]
    command = ["cat", NOTE] if is_list else f"cat {NOTE}"
    required = tools[shell].get("parameters", {}).get("required", [])
    arguments = {field: "Prints the note" for field in required} | {name: command}
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": shell, "arguments": json.dumps(arguments)}}
    return {"role": "assistant", "content": None, "tool_calls": [call]}


def text(content) -> str:
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content or [])


if __name__ == "__main__":
    NOTE = sys.argv[2]
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Coder)
    pathlib.Path(sys.argv[1]).write_text(str(server.server_address[1]))
    server.serve_forever()
