"""OpenAI's Responses: what it refuses. Its answers are in `openai_responses_answer`."""

from . import media, openai_responses_answer
from .openai_rules import (SHARED_FIELDS, TIERS, check_function, check_json_word, check_known, check_output_schema, check_sampling,
                           check_tool_settings, choice_of, effort_of, is_reasoning, model_of, one_of, only)
from .refusal import Refusal, expect, required
from .script import Result, Scene, perform, prompt_tokens
from .server import Reply

FIELDS = SHARED_FIELDS | frozenset(
    "background background_options context_management conversation image include input instructions max_output_tokens max_tool_calls"
    " previous_response_id prompt reasoning text truncation access_programs".split()
)
COUNT_FIELDS = frozenset("conversation input instructions model parallel_tool_calls personality previous_response_id reasoning text tool_choice tools truncation".split())
INCLUDES = (
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources", "message.input_image.image_url",
    "computer_call_output.output.image_url", "code_interpreter_call.outputs", "reasoning.encrypted_content", "message.output_text.logprobs",
)
ITEM_FIELDS = {
    "message": "type id role content status phase",
    "function_call": "type id call_id name arguments status namespace caller",
    "custom_tool_call": "type id call_id name input namespace caller",
    "function_call_output": "type id call_id output status name namespace caller",
    "custom_tool_call_output": "type id call_id output",
    "reasoning": "type id summary content encrypted_content status",
}
CALLS = {"function_call": "function_call_output", "custom_tool_call": "custom_tool_call_output"}
INPUT_PARTS = ("input_text", "input_image", "input_file")
OUTPUT_PARTS = ("output_text", "refusal")
PART_FIELDS = {
    "input_text": "type text prompt_cache_breakpoint",
    "input_image": "type image_url file_id detail prompt_cache_breakpoint",
    "input_file": "type file_data file_id file_url filename detail prompt_cache_breakpoint",
    "output_text": "type text annotations logprobs",
    "refusal": "type refusal",
}
OUTPUT_TOKENS_MIN = 16


def answer(vendor, body: dict, entry: dict):
    scene = read(vendor, body, entry)
    act = perform(scene)
    if not body.get("stream"):
        response = openai_responses_answer.whole(vendor, body, act)
        return Reply(200, response, is_cut=act.fault == "cut")
    frames = openai_responses_answer.events(vendor, body, act)
    return vendor.stream(frames, act, entry["text"], openai_responses_answer.more(len(frames)))


def count(vendor, body: dict, entry: dict) -> Reply:
    check_known(body, COUNT_FIELDS)
    scene = Scene()
    check_input(vendor, body, scene, entry)
    return Reply(200, {"object": "response.input_tokens", "input_tokens": prompt_tokens(scene)})


def read(vendor, body: dict, entry: dict) -> Scene:
    check_known(body, FIELDS)
    model = model_of(body)
    effort = effort_of(check_reasoning(body, model), model, "reasoning.effort")
    scene = Scene(reasons=effort != "none", system=body.get("instructions") or "")
    check_settings(body, model, effort)
    check_input(vendor, body, scene, entry)
    check_tools(body, scene)
    scene.output_schema, scene.is_json = output_of(body, scene)
    scene.cap = body.get("max_output_tokens")
    return scene


def check_reasoning(body: dict, model: str):
    """Returns the effort that is asked for."""
    reasoning = body.get("reasoning")
    if reasoning is None:
        return None
    only(expect(reasoning, dict, "reasoning"), "effort summary generate_summary context mode", "reasoning")
    if reasoning.get("summary") is not None:
        one_of(reasoning["summary"], ("auto", "concise", "detailed"), "reasoning.summary")
        if not is_reasoning(model):
            raise Refusal("Unsupported parameter: 'reasoning.summary' is not supported with this model.", param="reasoning.summary")
    return reasoning.get("effort")


def check_settings(body: dict, model: str, effort: str):
    check_sampling(body, model, effort)
    if body.get("store") is not False:
        raise Refusal("This account keeps no data: 'store' must be false.", param="store")
    if body.get("previous_response_id") is not None:
        raise Refusal(f"Previous response with id '{body['previous_response_id']}' not found.", param="previous_response_id", code="previous_response_not_found")
    for name in ("background", "conversation", "prompt"):
        if body.get(name):
            raise Refusal(f"'{name}' needs stored data.", param=name)
    if body.get("max_output_tokens") is not None and expect(body["max_output_tokens"], int, "max_output_tokens") < OUTPUT_TOKENS_MIN:
        raise Refusal(f"Invalid 'max_output_tokens': integer below minimum value. Expected a value >= {OUTPUT_TOKENS_MIN}.",
                      param="max_output_tokens", code="integer_below_min_value")
    for index, name in enumerate(body.get("include") or []):
        one_of(name, INCLUDES, f"include[{index}]")
    if "reasoning.encrypted_content" in (body.get("include") or []) and not is_reasoning(model):
        raise Refusal("Encrypted content is not supported with this model.", param="include")
    if body.get("service_tier") is not None:
        one_of(body["service_tier"], TIERS, "service_tier")
    if body.get("stream_options") is not None:
        only(body["stream_options"], "include_obfuscation", "stream_options")
        if not body.get("stream"):
            raise Refusal("The 'stream_options' parameter is only allowed when 'stream' is enabled.", param="stream_options")


def check_input(vendor, body: dict, scene: Scene, entry: dict):
    given = body.get("input")
    if isinstance(given, str):
        given = [{"role": "user", "content": given}]
    if not given or not isinstance(given, list):
        raise Refusal("One of 'input' or 'previous_response_id' or 'prompt' or 'conversation' must be provided.", param="input")
    walk = Walk(vendor, scene, entry)
    for index, item in enumerate(given):
        walk.take(expect(item, dict, f"input[{index}]"), f"input[{index}]")
    walk.end()


class Walk:
    """One walk through the items of an input: pairs calls with outputs, and reasoning with what follows it."""

    def __init__(self, vendor, scene: Scene, entry: dict):
        self.vendor, self.scene, self.entry = vendor, scene, entry
        self.open_calls = {}
        # The last reasoning item, until an item follows it.
        self.reasoning = None
        # Every reasoning item seen: its encrypted content by its id.
        self.returned = {}

    def take(self, item: dict, where: str):
        kind = item.get("type", "message" if "role" in item else None)
        if kind == "item_reference":
            raise Refusal(f"Item '{item.get('id')}' not found. Items are not persisted when `store` is set to false.", status=404)
        one_of(kind, tuple(ITEM_FIELDS), f"{where}.type")
        only(item, ITEM_FIELDS[kind], where)
        if kind == "reasoning":
            return self.take_reasoning(item, where)
        if kind == "message":
            self.take_message(item, where)
        elif kind in CALLS:
            self.take_call(item, kind, where)
        else:
            self.take_output(item, kind, where)
        self.reasoning = None

    def take_reasoning(self, item: dict, where: str):
        self.refuse_dangling()
        required(item, "summary", list, f"{where}.")
        content = item.get("encrypted_content")
        issued = self.vendor.signatures.subject(content)
        # Without stored state the id may be left out; a wrong one is refused.
        identity = item.get("id") or issued
        if content is None:
            raise Refusal(f"Item with id '{identity}' not found. Items are not persisted when `store` is set to false.", status=404)
        if issued is None or issued != identity:
            raise Refusal(f"The encrypted content for item {identity} could not be verified.", code="invalid_encrypted_content")
        self.returned[identity] = content
        self.reasoning = identity

    def take_message(self, item: dict, where: str):
        role = one_of(required(item, "role", str, f"{where}."), ("user", "assistant", "system", "developer"), f"{where}.role")
        texts, found = contents(item, role, where)
        text = ("" if role == "assistant" else " ").join(texts)
        if role in ("system", "developer"):
            self.scene.system = f"{self.scene.system} {text}".strip()
            return
        self.scene.transcript.append((role, text))
        if role == "user":
            self.scene.text, self.scene.media, self.scene.results, self.scene.steps = text, found, [], 0
            self.entry["text"] = text

    def take_call(self, item: dict, kind: str, where: str):
        call = required(item, "call_id", str, f"{where}.")
        required(item, "name", str, f"{where}.")
        required(item, "arguments" if kind == "function_call" else "input", str, f"{where}.")
        if call in self.open_calls:
            raise Refusal(f"Duplicate call_id '{call}'.", param=where)
        if not self.open_calls:
            self.scene.results, self.scene.steps = [], self.scene.steps + 1
        self.open_calls[call] = kind
        wanted = self.vendor.reasoning_of_calls.get(call)
        if wanted is not None and wanted not in self.returned:
            raise Refusal(f"Item '{item.get('id')}' of type 'function_call' was provided without its required 'reasoning' item: '{wanted}'.", param="input")
        self.entry["kept"] += ["exact"] if wanted is not None else []

    def take_output(self, item: dict, kind: str, where: str):
        call = required(item, "call_id", str, f"{where}.")
        if CALLS.get(self.open_calls.pop(call, None)) != kind:
            raise Refusal(f"No tool call found for function call output with call_id {call}.", param="input")
        output = item.get("output")
        text = output if isinstance(output, str) else " ".join(parts(expect(output, list, f"{where}.output"), INPUT_PARTS, f"{where}.output")[0])
        # The format has no flag for a failed tool: the model reads it in the text.
        self.scene.results.append(Result(text, "error" in text.lower()))

    def refuse_dangling(self):
        if self.reasoning is not None:
            raise Refusal(f"Item '{self.reasoning}' of type 'reasoning' was provided without its required following item.", param="input")

    def end(self):
        self.refuse_dangling()
        if self.open_calls:
            raise Refusal(f"No tool output found for function call {next(iter(self.open_calls))}.", param="input")


def contents(item: dict, role: str, where: str):
    content = item.get("content")
    if isinstance(content, str):
        return [content], []
    return parts(expect(content, list, f"{where}.content"), OUTPUT_PARTS if role == "assistant" else INPUT_PARTS, f"{where}.content")


def parts(given: list, kinds, where: str):
    """Returns the texts of parts, and the descriptions of their media."""
    texts, found = [], []
    for index, part in enumerate(given):
        place = f"{where}[{index}]"
        kind = one_of(required(expect(part, dict, place), "type", str, f"{place}."), kinds, f"{place}.type")
        only(part, PART_FIELDS[kind], place)
        if kind == "input_image":
            found.append(media.picture(required(part, "image_url", str, f"{place}."), f"{place}.image_url"))
        elif kind == "input_file":
            found.append(file(part, place))
        else:
            texts.append(required(part, "refusal" if kind == "refusal" else "text", str, f"{place}."))
    return texts, found


def file(part: dict, where: str) -> str:
    if "file_url" in part:
        return media.address(part["file_url"], f"{where}.file_url")
    required(part, "filename", str, f"{where}.")
    return media.document(required(part, "file_data", str, f"{where}."), f"{where}.file_data")


def check_tools(body: dict, scene: Scene):
    check_tool_settings(body)
    for index, tool in enumerate(body.get("tools") or []):
        where = f"tools[{index}]"
        kind = one_of(required(tool, "type", str, f"{where}."), ("function", "custom"), f"{where}.type")
        if kind == "function":
            only(tool, "type name description parameters strict defer_loading allowed_callers output_schema async", where)
        else:
            only(tool, "type name description format defer_loading allowed_callers", where)
        # An absent `strict` is true here.
        scene.tools[tool.get("name")] = check_function(tool, where, tool.get("strict") is not False and kind == "function")
    scene.choice, scene.allowed = choice_of(body.get("tool_choice"), scene.tools, is_flat=True)
    scene.is_parallel = body.get("parallel_tool_calls") is not False


def output_of(body: dict, scene: Scene):
    text = expect(body.get("text") or {}, dict, "text")
    only(text, "format verbosity", "text")
    fields = text.get("format") or {"type": "text"}
    kind = one_of(required(fields, "type", str, "text.format."), ("text", "json_object", "json_schema"), "text.format.type")
    if kind == "json_schema":
        # Here too an absent `strict` is true.
        return check_output_schema({"strict": True, **fields}, "text.format"), False
    only(fields, "type", "text.format")
    if kind == "json_object":
        check_json_word([scene.system, *(said for _, said in scene.transcript)], "input")
    return None, kind == "json_object"
