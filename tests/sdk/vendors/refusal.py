"""The refusal of a request, and small checks that lead to it."""

TYPE_NAMES = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", int: "an integer"}


class Refusal(Exception):
    """A request that the vendor refuses; each vendor has its own body for it."""

    def __init__(self, message, *, status=400, param=None, code=None, kind=None):
        super().__init__(message)
        self.message, self.status, self.param, self.code, self.kind = message, status, param, code, kind


def expect(value, kind, where: str):
    """Returns a value of the expected JSON type, or refuses it."""
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise Refusal(f"Invalid type for '{where}': expected {TYPE_NAMES[kind]}.", param=where, code="invalid_type")
    return value


def required(fields: dict, name: str, kind, where: str):
    if name not in fields:
        raise Refusal(f"Missing required parameter: '{where}{name}'.", param=f"{where}{name}", code="missing_required_parameter")
    return expect(fields[name], kind, f"{where}{name}")


def unknown(fields: dict, known) -> str | None:
    """Returns the first field that is not known."""
    return next((name for name in fields if name not in known), None)


def number(value, low, high, where: str):
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise Refusal(f"Invalid '{where}': expected a number from {low} to {high}.", param=where)
