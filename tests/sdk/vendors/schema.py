"""JSON Schema as the vendors take it: values that fit a schema, and the subsets that strict modes demand."""

import re

GEMINI_FIELDS = frozenset(
    "anyOf default description enum example format items maxItems maxLength maxProperties maximum minItems minLength minProperties minimum"
    " nullable pattern properties propertyOrdering required title type".split()
)
GEMINI_TYPES = frozenset("STRING NUMBER INTEGER BOOLEAN ARRAY OBJECT NULL".split())
ANTHROPIC_UNSUPPORTED = frozenset(
    "minimum maximum exclusiveMinimum exclusiveMaximum multipleOf minLength maxLength maxItems uniqueItems patternProperties".split()
)
STRICT_UNSUPPORTED = frozenset("allOf not dependentRequired dependentSchemas if then else patternProperties oneOf".split())
SNAKE = re.compile(r"_([a-z])")
NESTED_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
NESTED_MAPS = ("properties", "$defs", "definitions")


def camel(name: str) -> str:
    return SNAKE.sub(lambda match: match[1].upper(), name)


def fill(schema, root=None):
    """Returns a value that fits: every string is Rome, every number 1."""
    root = schema if root is None else root
    if not isinstance(schema, dict):
        return "Rome"
    if "$ref" in schema:
        return fill(resolve(schema["$ref"], root), root)
    for name, value in (("const", schema.get("const")), ("enum", (schema.get("enum") or [None])[0])):
        if name in schema:
            return value
    for name in ("anyOf", "oneOf", "any_of"):
        if name in schema:
            return fill(next(option for option in schema[name] if option.get("type") != "null"), root)
    return fill_type(schema, root)


def fill_type(schema, root):
    kind = schema.get("type", "object" if "properties" in schema else "string")
    if isinstance(kind, list):
        kind = next(name for name in kind if name != "null")
    kind = kind.lower()
    if kind == "object":
        return {name: fill(part, root) for name, part in schema.get("properties", {}).items()}
    if kind == "array":
        return [fill(schema.get("items", {}), root)]
    return {"string": "Rome", "integer": 1, "number": 1, "boolean": True, "null": None}[kind]


def resolve(reference: str, root):
    part = root
    for name in reference.removeprefix("#/").split("/"):
        part = part[name]
    return part


def nested(schema: dict, path: str):
    """Yields every schema inside a schema, with its place."""
    yield path, schema
    inner = []
    for name in NESTED_MAPS:
        inner += [(f"{path}.{name}.{key}", part) for key, part in (schema.get(name) or {}).items()]
    for name in NESTED_LISTS:
        inner += [(f"{path}.{name}[{index}]", part) for index, part in enumerate(schema.get(name) or [])]
    if isinstance(schema.get("items"), dict):
        inner.append((f"{path}.items", schema["items"]))
    for place, part in inner:
        if isinstance(part, dict):
            yield from nested(part, place)


def is_object(schema: dict) -> bool:
    kind = schema.get("type")
    return kind == "object" or (isinstance(kind, list) and "object" in kind) or (kind is None and "properties" in schema)


def openai_strict_problem(schema: dict) -> str | None:
    """Returns why OpenAI refuses a schema with `strict: true`."""
    for place, part in nested(schema, ""):
        bad = next((name for name in part if name in STRICT_UNSUPPORTED), None)
        if bad:
            return f"In context={place!r}, {bad!r} is not permitted."
        if not is_object(part):
            continue
        if part.get("additionalProperties") is not False:
            return f"In context={place!r}, 'additionalProperties' is required to be supplied and to be false."
        missing = set(part.get("properties", {})) ^ set(part.get("required", []))
        if missing:
            return f"In context={place!r}, 'required' must be an array including every key in properties. Wrong: {sorted(missing)}."
    return None


def anthropic_problem(schema: dict) -> str | None:
    """Returns why Anthropic refuses a schema of structured output or of a strict tool."""
    for place, part in nested(schema, "schema"):
        bad = next((name for name in part if name in ANTHROPIC_UNSUPPORTED), None)
        if bad:
            return f"{place}: property '{bad}' is not supported"
        if is_object(part) and part.get("additionalProperties") is not False:
            return f"{place}: For 'object' type, 'additionalProperties' must be explicitly set to false"
        if part.get("minItems", 0) > 1:
            return f"{place}: 'minItems' values other than 0 or 1 are not supported"
    return None


def gemini_problem(schema, path: str) -> str | None:
    """Returns why Google refuses a schema of its own subset (`parameters`, `responseSchema`), whose names may be in snake case."""
    if not isinstance(schema, dict):
        return f"Invalid value at '{path}'."
    schema = {camel(name): value for name, value in schema.items()}
    bad = next((name for name in schema if name not in GEMINI_FIELDS), None)
    if bad:
        return f'Invalid JSON payload received. Unknown name "{bad}" at \'{path}\': Cannot find field.'
    kind = schema.get("type")
    if kind is not None and (not isinstance(kind, str) or kind.upper() not in GEMINI_TYPES):
        return f"Invalid value at '{path}.type' (type.googleapis.com/google.ai.generativelanguage.v1beta.Type), {kind!r}"
    if kind is None and "anyOf" not in schema:
        return f"{path}: schema must have a type or any_of."
    if any(not isinstance(value, str) for value in schema.get("enum", [])):
        return f"Invalid value at '{path}.enum[0]' (TYPE_STRING)."
    if kind is not None and kind.upper() == "ARRAY" and "items" not in schema:
        return f"{path}.items: missing field."
    return gemini_inner_problem(schema, path)


def gemini_inner_problem(schema: dict, path: str) -> str | None:
    inner = [(f"{path}.properties[{name}]", part) for name, part in schema.get("properties", {}).items()]
    inner += [(f"{path}.any_of[{index}]", part) for index, part in enumerate(schema.get("anyOf", []))]
    inner += [(f"{path}.items", schema["items"])] if "items" in schema else []
    missing = set(schema.get("required", [])) - set(schema.get("properties", {}))
    if missing:
        return f"{path}.required: property is not defined: {sorted(missing)}"
    return next((problem for place, part in inner if (problem := gemini_problem(part, place))), None)
