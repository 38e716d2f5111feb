"""Google's rules of a conversation: roles, parts, pairs of calls and responses, thought signatures."""

import base64
import re

from . import media
from .refusal import Refusal
from .script import Result, Scene

DATA = ("text", "inlineData", "fileData", "functionCall", "functionResponse", "executableCode", "codeExecutionResult", "toolCall", "toolResponse")
# The documented stand-in for the signature of a call that another model made.
PLACEHOLDERS = ("skip_thought_signature_validator", "context_engineering_is_the_way_to_go")
# Its own files, YouTube and public files, all over HTTPS; Cloud Storage.
FILES = re.compile(r"(https|gs)://.+")
COUNT_MESSAGE = "Please ensure that the number of function response parts is equal to the number of function call parts of the function call turn."


def texts(parts: list) -> list:
    return [part["text"] for part in parts if "text" in part and not part.get("thought")]


class Turns:
    """One walk through the contents."""

    def __init__(self, vendor, needs_signatures: bool, scene: Scene, entry: dict):
        self.vendor, self.needs_signatures, self.scene, self.entry = vendor, needs_signatures, scene, entry
        # The calls of the last turn, which the next turn must answer.
        self.open_calls = []
        # The turns of the model since the user's last text.
        self.steps = []
        self.last_role = None

    def take_all(self, contents: list):
        if not contents:
            raise Refusal("* GenerateContentRequest.contents: contents is not specified")
        for index, content in enumerate(contents):
            where = f"contents[{index}]"
            role = content.get("role", "user")
            if role not in ("user", "model"):
                raise Refusal("Please use a valid role: user, model.")
            parts = content.get("parts", [])
            if not parts:
                raise Refusal(f"* GenerateContentRequest.{where}.parts: contents.parts must not be empty.")
            for place, part in enumerate(parts):
                self.check_part(part, f"{where}.parts[{place}]")
            (self.take_user if role == "user" else self.take_model)(parts, where)
            self.last_role = role
        self.refuse_open()
        if self.needs_signatures:
            self.check_steps()

    def check_part(self, part: dict, where: str):
        if sum(name in part for name in DATA) != 1:
            raise Refusal(f"* GenerateContentRequest.{where}.data: required oneof field 'data' must have one initialized field")
        if "text" in part and not isinstance(part["text"], str):
            raise Refusal(f"Invalid value at '{where}.text' (TYPE_STRING)")
        if "thoughtSignature" in part:
            self.check_signature(part, where)

    def check_signature(self, part: dict, where: str):
        content = media.decode(part["thoughtSignature"], f"{where}.thought_signature", is_url_safe=True)
        if content in [media.decode(name, where, is_url_safe=True) for name in PLACEHOLDERS]:
            self.entry["kept"].append("placeholder")
            return
        subject = self.vendor.signatures.subject(base64.b64encode(content).decode())
        if subject is None:
            raise Refusal("Corrupted thought signature.")
        is_own = subject == subject_of(part)
        if not is_own and "functionCall" in part:
            raise Refusal(f"Thought signature is not valid for this part. ({where})")
        # Google does not say that it refuses a signature that was moved on to another text, only that it must not be.
        self.entry["kept"].append("exact" if is_own else "moved")

    def take_user(self, parts: list, where: str):
        responses = [part["functionResponse"] for part in parts if "functionResponse" in part]
        if responses:
            self.pair(responses)
            self.scene.results = [result(response, where) for response in responses]
            self.scene.steps += 1
        self.refuse_open()
        if len(responses) == len(parts):
            return
        found = [self.medium(part, where) for part in parts if "inlineData" in part or "fileData" in part]
        if any("functionCall" in part for part in parts):
            raise Refusal("Please ensure that function call turns have the role model.")
        self.scene.text, self.scene.media, self.scene.results, self.scene.steps = " ".join(texts(parts)), found, [], 0
        self.steps = []
        self.scene.transcript.append(("user", self.scene.text))
        self.entry["text"] = self.scene.text

    def pair(self, responses: list):
        if self.last_role != "model" or not self.open_calls:
            raise Refusal("Please ensure that function response turn comes immediately after a function call turn.")
        if len(responses) != len(self.open_calls):
            raise Refusal(COUNT_MESSAGE)
        if sorted(response.get("name", "") for response in responses) != sorted(call["name"] for call in self.open_calls):
            raise Refusal("Please ensure that the function response parts have the names of the function call parts.")
        # A call with an id is answered by its id, if the response has one at all.
        ids = {call.get("id"): call["name"] for call in self.open_calls}
        for response in responses:
            if response.get("id") is not None and ids.get(response["id"]) != response["name"]:
                raise Refusal(f"The function response id {response['id']!r} does not match a function call of {response['name']!r}.")
        self.open_calls = []

    def medium(self, part: dict, where: str) -> str:
        if "fileData" in part:
            address = part["fileData"].get("fileUri", "")
            if not FILES.fullmatch(address):
                raise Refusal(f"Cannot fetch content from the provided URL: {address}")
            return f"address {address}"
        blob = part["inlineData"]
        if not blob.get("mimeType"):
            raise Refusal(f"* GenerateContentRequest.{where}: mime_type is required.")
        content = media.decode(blob.get("data", ""), f"{where}.inline_data.data", is_url_safe=True)
        if blob["mimeType"] == "application/pdf" and not content.startswith(b"%PDF"):
            raise Refusal("The document has no pages.")
        return media.seen(blob["mimeType"], content)

    def take_model(self, parts: list, where: str):
        self.refuse_open()
        self.open_calls = [part["functionCall"] for part in parts if "functionCall" in part]
        if any("functionResponse" in part for part in parts):
            raise Refusal("Please ensure that function response turns have the role user.")
        if self.open_calls and self.last_role != "user":
            raise Refusal("Please ensure that function call turn comes immediately after a user turn or after a function response turn.")
        if any(not call.get("name") for call in self.open_calls):
            raise Refusal(f"* GenerateContentRequest.{where}.function_call.name: Name cannot be empty.")
        self.scene.results = []
        self.steps.append((parts, where))
        self.scene.transcript.append(("assistant", "".join(texts(parts))))

    def refuse_open(self):
        if self.open_calls:
            raise Refusal(COUNT_MESSAGE)

    def check_steps(self):
        """Checks that the first call of every step of the running turn has its signature."""
        for parts, where in self.steps:
            place, first = next(((place, part) for place, part in enumerate(parts) if "functionCall" in part), (0, None))
            if first is not None and "thoughtSignature" not in first:
                raise Refusal("Function call is missing a thought_signature in functionCall parts. This is required for tools to work correctly. "
                              f"Additional data, function call `{first['functionCall']['name']}` , position {where}.parts[{place}].")


def subject_of(part: dict):
    """Returns the thing that a signature is issued for."""
    if "functionCall" in part:
        call = part["functionCall"]
        return "call", call.get("name"), call.get("args") or {}
    return "text", part.get("text")


def result(response: dict, where: str) -> Result:
    content = response.get("response", {})
    if not isinstance(content, dict):
        raise Refusal(f"Invalid value at '{where}.function_response.response' (type.googleapis.com/google.protobuf.Struct)")
    value = content.get("error", content.get("output", content))
    text = value if isinstance(value, str) else str(value)
    media_of_parts = [f" saw {media.seen(part['inlineData']['mimeType'], media.decode(part['inlineData']['data'], where, is_url_safe=True))}"
                      for part in response.get("parts", []) if "inlineData" in part]
    return Result(text + "".join(media_of_parts), "error" in content)
