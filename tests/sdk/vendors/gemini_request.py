"""Google's generateContent: what it refuses of settings and tools. The conversation is read in `gemini_turns`."""

import re

from .gemini_fields import read as read_fields
from .gemini_turns import Turns, texts
from .refusal import Refusal, number
from .schema import gemini_problem
from .script import Scene

NAMES = ("gemini-2.5-flash", "gemini-2.5-pro", "gemini-3-flash", "gemini-3.1-pro", "gemini-3.8-flash", "gemini-embedding-001")
TOOL_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,127}")
LEVELS = ("MINIMAL", "LOW", "MEDIUM", "HIGH", "XHIGH")
STOP_SEQUENCES_MAX = 5


def generation(model: str) -> float:
    match = re.match(r"gemini-(\d+(?:\.\d+)?)", model)
    return float(match[1]) if match else 0.0


def read(vendor, model: str, body: dict, entry: dict):
    """Returns the scene, and the request with all names in camel case."""
    request = read_fields(body, "GenerateContentRequest")
    config = request.get("generationConfig", {})
    scene = Scene(cap=config.get("maxOutputTokens"), stop=config.get("stopSequences", []))
    scene.system = " ".join(texts(request.get("systemInstruction", {}).get("parts", [])))
    check_settings(config)
    check_output(config, scene)
    check_tools(request, scene)
    if scene.tools and scene.is_json and generation(model) < 3:
        raise Refusal("Function calling with a response mime type: 'application/json' is unsupported")
    Turns(vendor, generation(model) >= 3, scene, entry).take_all(request.get("contents", []))
    scene.reasons = check_thinking(config.get("thinkingConfig", {}), model, scene)
    return scene, request


def check_settings(config: dict):
    number(config.get("temperature"), 0, 2, "generation_config.temperature")
    number(config.get("topP"), 0, 1, "generation_config.top_p")
    number(config.get("topK"), 1, 1000, "generation_config.top_k")
    for name in ("presencePenalty", "frequencyPenalty"):
        number(config.get(name), -2, 2, f"generation_config.{name}")
    if config.get("maxOutputTokens") is not None and config["maxOutputTokens"] < 1:
        raise Refusal("max_output_tokens must be positive.")
    if len(config.get("stopSequences", [])) > STOP_SEQUENCES_MAX:
        raise Refusal(f"The number of stop sequences must be at most {STOP_SEQUENCES_MAX}.")
    if config.get("candidateCount", 1) != 1:
        raise Refusal("Multiple candidates is not enabled for this model")
    if "logprobs" in config and not config.get("responseLogprobs"):
        raise Refusal("logprobs is only valid if response_logprobs is true.")


def check_thinking(config: dict, model: str, scene: Scene) -> bool:
    """Returns whether the model thinks. Without a wish it decides itself: it thinks when the text says so."""
    level, budget = config.get("thinkingLevel"), config.get("thinkingBudget")
    if level is not None and budget is not None:
        raise Refusal("You can only set only one of thinking budget and thinking level.")
    if level is not None:
        if generation(model) < 3:
            raise Refusal("Thinking level is not supported for this model.")
        if str(level).upper() not in LEVELS:
            raise Refusal(f"Invalid value at 'generation_config.thinking_config.thinking_level', {level!r}")
    if budget == 0 and model == "gemini-2.5-pro":
        raise Refusal("Budget 0 is invalid. This model only works in thinking mode.")
    if budget is not None and not -1 <= budget <= 32768:
        raise Refusal(f"The thinking budget {budget} is invalid. Please choose a value between 0 and 24576.")
    if config.get("includeThoughts") and budget == 0:
        raise Refusal("Include thoughts is only enabled when thinking is enabled.")
    return budget != 0 and bool(config.get("includeThoughts") or level or budget or "think" in scene.text)


def check_output(config: dict, scene: Scene):
    schemas = [name for name in ("responseSchema", "responseJsonSchema") if name in config]
    scene.is_json = config.get("responseMimeType") == "application/json"
    if config.get("responseMimeType") not in (None, "text/plain", "application/json", "text/x.enum"):
        raise Refusal(f"response_mime_type: {config['responseMimeType']!r} is not supported.")
    if not schemas:
        return
    if len(schemas) > 1:
        raise Refusal("Only one of response_schema and response_json_schema may be set.")
    if not scene.is_json:
        raise Refusal("Function 'response_schema' is only supported with response_mime_type application/json.")
    scene.output_schema = config[schemas[0]]
    if schemas == ["responseSchema"] and (problem := gemini_problem(scene.output_schema, "generation_config.response_schema")):
        raise Refusal(problem)


def check_tools(request: dict, scene: Scene):
    for index, tool in enumerate(request.get("tools", [])):
        if set(tool) - {"functionDeclarations"}:
            raise Refusal(f"tools[{index}]: the simulator has only functions.")
        for place, declaration in enumerate(tool.get("functionDeclarations", [])):
            check_declaration(declaration, f"tools[{index}].function_declarations[{place}]", scene)
    config = request.get("toolConfig", {}).get("functionCallingConfig", {})
    mode = str(config.get("mode", "AUTO")).upper()
    if mode not in ("AUTO", "ANY", "NONE", "VALIDATED", "MODE_UNSPECIFIED"):
        raise Refusal(f"Invalid value at 'tool_config.function_calling_config.mode', {mode!r}")
    names = config.get("allowedFunctionNames")
    if names and mode not in ("ANY", "VALIDATED"):
        raise Refusal("Function calling config is set without function calling mode ANY: allowed_function_names cannot be set.")
    unknown = set(names or []) - set(scene.tools)
    if unknown:
        raise Refusal(f"allowed_function_names: {sorted(unknown)} are not declared.")
    if mode == "ANY" and not scene.tools:
        raise Refusal("Function calling config is set without function_declarations.")
    scene.choice = {"ANY": "required", "NONE": "none"}.get(mode, "auto")
    scene.allowed = names or None


def check_declaration(declaration: dict, where: str, scene: Scene):
    name = declaration.get("name", "")
    if not TOOL_NAME.fullmatch(name):
        raise Refusal(f"{where}.name: Invalid function name. Must start with a letter or an underscore.")
    if name in scene.tools:
        raise Refusal(f"Duplicate function declaration found: {name}")
    if "parameters" in declaration and "parametersJsonSchema" in declaration:
        raise Refusal(f"{where}: only one of parameters and parameters_json_schema may be set.")
    schema = declaration.get("parametersJsonSchema", declaration.get("parameters", {"type": "OBJECT"}))
    if "parameters" in declaration and (problem := gemini_problem(schema, f"{where}.parameters")):
        raise Refusal(problem)
    if not isinstance(schema, dict) or str(schema.get("type")).upper() != "OBJECT":
        raise Refusal(f"{where}.parameters: functionDeclaration parameters schema should be of type OBJECT.")
    scene.tools[name] = schema
