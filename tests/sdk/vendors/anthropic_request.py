"""Anthropic's Messages: what it refuses of a request's settings and tools. The conversation is read in `anthropic_turns`."""

import re

from .anthropic_models import NAMES, Claude
from .anthropic_turns import Turns
from .refusal import Refusal, expect, unknown
from .schema import anthropic_problem
from .script import Scene

FIELDS = frozenset(
    "model messages max_tokens cache_control container diagnostics inference_geo metadata output_config service_tier speed stop_sequences"
    " stream system temperature thinking tool_choice tools top_k top_p".split()
)
COUNT_FIELDS = frozenset("model messages cache_control output_config speed system thinking tool_choice tools".split())
TOOL_FIELDS = frozenset("type name description input_schema strict cache_control defer_loading eager_input_streaming input_examples allowed_callers".split())
NAME = re.compile(r"[a-zA-Z0-9_-]{1,128}")
BUDGET_MIN = 1024
# From this version on, sampling settings are refused for every model.
VERSION_WITHOUT_SAMPLING = "2026-10-21"
VERSIONS = ("2023-06-01", VERSION_WITHOUT_SAMPLING)
CACHE_BREAKPOINTS_MAX = 4


def only(fields: dict, known, where: str = ""):
    if (name := unknown(fields, known)) is not None:
        raise Refusal(f"{where}{name}: Extra inputs are not permitted")


def need(fields: dict, name: str, kind, where: str = ""):
    if name not in fields:
        raise Refusal(f"{where}{name}: Field required")
    return expect(fields[name], kind, f"{where}{name}")


def literal(value, values, where: str):
    if value not in values:
        raise Refusal(f"{where}: Input should be {' or '.join(repr(name) for name in values)}")
    return value


def read(vendor, request, body: dict, entry: dict) -> Scene:
    is_count = request.path.endswith("/count_tokens")
    only(body, COUNT_FIELDS if is_count else FIELDS)
    claude = model_of(body)
    version = version_of(request)
    scene = Scene()
    if not is_count and need(body, "max_tokens", int) < 1:
        raise Refusal("max_tokens: Input should be greater than or equal to 1")
    scene.cap = body.get("max_tokens")
    check_sampling(body, claude, version)
    thinking = check_thinking(body, claude)
    scene.reasons = thinking in ("enabled", "adaptive")
    check_settings(body, claude, scene)
    check_tools(body, scene)
    check_choice(body, claude, scene, thinking)
    scene.system = system_of(body)
    Turns(vendor, claude, thinking, version == VERSION_WITHOUT_SAMPLING, scene, entry).take_all(need(body, "messages", list))
    check_cache(body)
    return scene


def model_of(body: dict) -> Claude:
    name = need(body, "model", str)
    if name not in NAMES:
        raise Refusal(f"model: {name}", status=404)
    return Claude(name)


def version_of(request) -> str:
    version = request.headers.get("anthropic-version")
    if version is None:
        raise Refusal("anthropic-version: header is required")
    return literal(version, VERSIONS, "anthropic-version")


def check_sampling(body: dict, claude: Claude, version: str):
    for name, high in (("temperature", 1), ("top_p", 1), ("top_k", 500)):
        value = body.get(name)
        if value is None:
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= high:
            raise Refusal(f"{name}: range: 0..{high}")
        if version == VERSION_WITHOUT_SAMPLING:
            raise Refusal(f"{name}: not supported by anthropic-version {version}")
        if not claude.has_own_sampling and (name == "top_k" or value != 1):
            raise Refusal(f"`{name}` may only be set to its default for this model.")
    if claude.has_one_sampler and body.get("temperature") is not None and body.get("top_p") is not None:
        raise Refusal("`temperature` and `top_p` cannot both be specified for this model. Please use only one.")


def check_thinking(body: dict, claude: Claude) -> str:
    """Returns the kind of thinking in force."""
    thinking = body.get("thinking")
    if thinking is None:
        return "adaptive" if claude.thinks_by_default else "disabled"
    kind = literal(need(thinking, "type", str, "thinking."), ("adaptive", "enabled", "disabled", "between_tools"), "thinking.type")
    if kind not in claude.thinking_types:
        raise Refusal(f'"thinking.type.{kind}" is not supported for this model. Use one of {claude.thinking_types}.')
    only(thinking, {"enabled": ("type", "budget_tokens", "display"), "adaptive": ("type", "display")}.get(kind, ("type",)), f"thinking.{kind}.")
    if thinking.get("display") is not None:
        literal(thinking["display"], ("summarized", "omitted"), f"thinking.{kind}.display")
    effort = (body.get("output_config") or {}).get("effort")
    if claude.version >= (5, 0) and kind in ("disabled", "between_tools") and effort in ("xhigh", "max"):
        raise Refusal(f'"thinking.type.{kind}" is not supported with effort {effort!r}.')
    if kind == "enabled":
        check_budget(thinking, body)
    return kind


def check_budget(thinking: dict, body: dict):
    budget = need(thinking, "budget_tokens", int, "thinking.enabled.")
    if budget < BUDGET_MIN:
        raise Refusal(f"thinking.enabled.budget_tokens: Input should be greater than or equal to {BUDGET_MIN}")
    if "max_tokens" in body and budget >= body["max_tokens"]:
        raise Refusal("`max_tokens` must be greater than `thinking.budget_tokens`.")
    if body.get("temperature", 1) not in (1, None):
        raise Refusal("`temperature` may only be set to 1 when thinking is enabled.")
    if body.get("top_k") is not None:
        raise Refusal("`top_k` must be unset when thinking is enabled.")
    if body.get("top_p") is not None and body["top_p"] < 0.95:
        raise Refusal("`top_p` must be greater than or equal to 0.95 or unset when thinking is enabled.")


def check_settings(body: dict, claude: Claude, scene: Scene):
    config = expect(body.get("output_config") or {}, dict, "output_config")
    only(config, ("effort", "format"), "output_config.")
    if config.get("effort") is not None:
        literal(config["effort"], ("low", "medium", "high", "xhigh", "max"), "output_config.effort")
        if config["effort"] not in claude.efforts:
            raise Refusal(f"This model does not support effort level {config['effort']!r}.")
    if config.get("format") is not None:
        check_format(config["format"], claude, scene)
    for index, word in enumerate(body.get("stop_sequences") or []):
        if not expect(word, str, f"stop_sequences.{index}").strip():
            raise Refusal("stop_sequences: each stop sequence must contain non-whitespace")
    scene.stop = body.get("stop_sequences") or []
    if body.get("metadata") is not None:
        only(body["metadata"], ("user_id",), "metadata.")
    if body.get("service_tier") is not None:
        literal(body["service_tier"], ("auto", "standard_only"), "service_tier")
    if body.get("stream") is not None:
        expect(body["stream"], bool, "stream")


def check_format(fields: dict, claude: Claude, scene: Scene):
    only(fields, ("type", "schema"), "output_config.format.")
    literal(need(fields, "type", str, "output_config.format."), ("json_schema",), "output_config.format.type")
    if not claude.has_structured_output:
        raise Refusal("output_config.format: this model does not support structured outputs")
    scene.output_schema = need(fields, "schema", dict, "output_config.format.")
    if problem := anthropic_problem(scene.output_schema):
        raise Refusal(f"output_config.format.{problem}")


def check_tools(body: dict, scene: Scene):
    for index, tool in enumerate(body.get("tools") or []):
        where = f"tools.{index}."
        if tool.get("type") not in (None, "custom"):
            raise Refusal(f"{where}type: the simulator has no tool {tool['type']!r}")
        only(tool, TOOL_FIELDS, f"{where}custom.")
        name = need(tool, "name", str, f"{where}custom.")
        if not NAME.fullmatch(name):
            raise Refusal(f"{where}custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
        if name in scene.tools:
            raise Refusal("tools: Tool names must be unique.")
        schema = need(tool, "input_schema", dict, f"{where}custom.")
        if schema.get("type") != "object":
            raise Refusal(f"{where}custom.input_schema.type: Input should be 'object'")
        if tool.get("strict") and (problem := anthropic_problem(schema)):
            raise Refusal(f"{where}custom.input_{problem}")
        scene.tools[name] = schema


def check_choice(body: dict, claude: Claude, scene: Scene, thinking: str):
    choice = body.get("tool_choice")
    if choice is None:
        return
    if not scene.tools:
        raise Refusal("tool_choice: may only be specified while providing tools")
    kind = literal(need(choice, "type", str, "tool_choice."), ("auto", "any", "tool", "none"), "tool_choice.type")
    known = {"none": ("type",), "tool": ("type", "name", "disable_parallel_tool_use")}.get(kind, ("type", "disable_parallel_tool_use"))
    only(choice, known, f"tool_choice.{kind}.")
    if kind in ("any", "tool") and (thinking == "enabled" or not claude.allows_forced_choice):
        raise Refusal("Thinking may not be enabled when tool_choice forces tool use.")
    scene.choice = {"any": "required", "tool": choice.get("name")}.get(kind, kind)
    if kind == "tool" and need(choice, "name", str, "tool_choice.tool.") not in scene.tools:
        raise Refusal(f"Tool '{scene.choice}' not found in provided tools")
    scene.is_parallel = choice.get("disable_parallel_tool_use") is not True


def system_of(body: dict) -> str:
    system = body.get("system")
    if system is None or isinstance(system, str):
        return system or ""
    for index, block in enumerate(expect(system, list, "system")):
        literal(need(block, "type", str, f"system.{index}."), ("text",), f"system.{index}.type")
        only(block, ("type", "text", "cache_control", "citations"), f"system.{index}.")
        if not need(block, "text", str, f"system.{index}.").strip():
            raise Refusal("system: text content blocks must be non-empty")
    return " ".join(block["text"] for block in system)


def check_cache(body: dict):
    """Checks every cache breakpoint, wherever it stands."""
    found = list(breakpoints({name: body.get(name) for name in ("cache_control", "tools", "system", "messages")}))
    for control in found:
        only(control, ("type", "ttl"), "cache_control.")
        literal(control.get("type"), ("ephemeral",), "cache_control.type")
        literal(control.get("ttl", "5m"), ("5m", "1h"), "cache_control.ttl")
    if len(found) > CACHE_BREAKPOINTS_MAX:
        raise Refusal(f"A maximum of {CACHE_BREAKPOINTS_MAX} blocks with cache_control may be provided. Found {len(found)}.")
    times = [control.get("ttl", "5m") for control in found if control is not body.get("cache_control")]
    if "1h" in times[times.index("5m"):] if "5m" in times else False:
        raise Refusal("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block.")


def breakpoints(value):
    """Yields cache breakpoints in the order of the prompt; a tool's schema and arguments are not searched."""
    if isinstance(value, list):
        for item in value:
            yield from breakpoints(item)
    elif isinstance(value, dict):
        if isinstance(value.get("cache_control"), dict):
            yield value["cache_control"]
        for name in ("tools", "system", "messages", "content"):
            yield from breakpoints(value.get(name))
