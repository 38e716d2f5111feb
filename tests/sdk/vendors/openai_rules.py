"""OpenAI's rules that hold for Chat and for Responses: models, sampling, tools, schemas."""

import re

from .refusal import Refusal, expect, number, required, unknown
from .schema import openai_strict_problem

MODELS = ("gpt-4.1", "gpt-4o", "gpt-5", "gpt-5-mini", "gpt-5.4", "gpt-5.6", "o4-mini", "text-embedding-3-small", "deepseek-chat")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
TIERS = ("auto", "default", "flex", "scale", "priority", "fast", "ultrafast")
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
SHARED_FIELDS = frozenset(
    "model metadata moderation parallel_tool_calls prompt_cache_key prompt_cache_options prompt_cache_retention safety_identifier service_tier"
    " store stream stream_options temperature tool_choice tools top_logprobs top_p user".split()
)


def check_known(body: dict, known):
    if (name := unknown(body, known)) is not None:
        raise Refusal(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")


def only(fields: dict, known: str, where: str):
    """Refuses an object with a field that it cannot have."""
    if (name := unknown(fields, known.split())) is not None:
        raise Refusal(f"Unknown parameter: '{where}.{name}'.", param=f"{where}.{name}", code="unknown_parameter")


def one_of(value, values, where: str):
    if value not in values:
        supported = ", ".join(repr(name) for name in values)
        raise Refusal(f"Invalid value: {value!r}. Supported values are: {supported}.", param=where, code="invalid_value")
    return value


def model_of(body: dict) -> str:
    name = required(body, "model", str, "")
    if name not in MODELS:
        raise Refusal(f"The model `{name}` does not exist or you do not have access to it.", status=404, code="model_not_found")
    return name


def version(model: str) -> float:
    match = re.match(r"gpt-(\d+(?:\.\d+)?)", model)
    return float(match[1]) if match else 0.0


def is_reasoning(model: str) -> bool:
    return bool(re.match(r"o\d", model)) or version(model) >= 5


def default_effort(model: str) -> str:
    if not is_reasoning(model):
        return "none"
    return "none" if 5.1 <= version(model) < 5.6 else "medium"


def effort_of(asked, model: str, where: str) -> str:
    """Returns the effort in force."""
    if asked is None:
        return default_effort(model)
    one_of(asked, EFFORTS, where)
    if not is_reasoning(model):
        raise Refusal(f"Unsupported parameter: '{where}' is not supported with this model.", param=where, code="unsupported_parameter")
    return asked


def check_sampling(body: dict, model: str, effort: str):
    number(body.get("temperature"), 0, 2, "temperature")
    number(body.get("top_p"), 0, 1, "top_p")
    if not is_reasoning(model) or (effort == "none" and version(model) >= 5.1):
        return
    if body.get("temperature", 1) not in (1, None):
        raise unsupported("temperature")
    if body.get("top_p") is not None:
        raise unsupported("top_p")


def unsupported(name: str, hint: str = "") -> Refusal:
    return Refusal(f"Unsupported parameter: '{name}' is not supported with this model.{hint}", param=name, code="unsupported_parameter")


def check_tool_settings(body: dict):
    for name in ("tool_choice", "parallel_tool_calls"):
        if body.get(name) is not None and not body.get("tools"):
            raise Refusal(f"Invalid value for '{name}': '{name}' is only allowed when 'tools' are specified.", param=name)


def check_function(function: dict, where: str, is_strict: bool) -> dict:
    """Returns the schema of a function's arguments."""
    name = required(function, "name", str, f"{where}.")
    if not NAME.fullmatch(name):
        raise Refusal(f"Invalid '{where}.name': string does not match pattern. Expected '^[a-zA-Z0-9_-]+$'.", param=f"{where}.name")
    parameters = function.get("parameters")
    if parameters is None:
        return {"type": "object", "properties": {}}
    expect(parameters, dict, f"{where}.parameters")
    check_schema(parameters, f"function '{name}'", f"{where}.parameters", is_strict)
    return parameters


def check_schema(schema: dict, subject: str, where: str, is_strict: bool):
    problem = None
    if schema.get("type") != "object":
        problem = f"schema must be a JSON Schema of 'type: \"object\"', got 'type: \"{schema.get('type')}\"'."
    elif is_strict:
        problem = openai_strict_problem(schema)
    if problem:
        code = "invalid_function_parameters" if subject.startswith("function") else "invalid_json_schema"
        raise Refusal(f"Invalid schema for {subject}: {problem}", param=where, code=code)


def check_output_schema(fields: dict, where: str) -> dict:
    """Returns the schema of structured output."""
    only(fields, "type name description schema strict", where)
    name = required(fields, "name", str, f"{where}.")
    if not NAME.fullmatch(name):
        raise Refusal(f"Invalid '{where}.name': string does not match pattern.", param=f"{where}.name")
    schema = required(fields, "schema", dict, f"{where}.")
    check_schema(schema, f"response_format '{name}'", f"{where}.schema", fields.get("strict") is True)
    return schema


def check_json_word(texts: list, where: str):
    if not any("json" in text.lower() for text in texts):
        raise Refusal(f"'{where}' must contain the word 'json' in some form, to use a format of type 'json_object'.", param=where)


def choice_of(choice, names, where="tool_choice", is_flat=False):
    """Returns the choice and the names that it leaves; Responses writes flat what Chat nests."""
    if choice is None or isinstance(choice, str):
        return one_of(choice or "auto", ("none", "auto", "required"), where), None
    kind = one_of(required(choice, "type", str, f"{where}."), ("function", "allowed_tools", "custom"), f"{where}.type")
    inner = choice if is_flat else required(choice, kind, dict, f"{where}.")
    if kind == "allowed_tools":
        tools = required(inner, "tools", list, f"{where}.")
        allowed = [(tool if is_flat else tool[tool["type"]])["name"] for tool in tools]
        return one_of(inner.get("mode"), ("auto", "required"), f"{where}.mode"), allowed
    name = required(inner, "name", str, f"{where}.")
    if name not in names:
        raise Refusal(f"Tool choice '{name}' not found in 'tools' parameter.", param=where)
    return name, None
