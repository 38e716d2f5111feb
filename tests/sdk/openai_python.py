"""Judges the run of the tests of the `openai` package: a test that does not pass needs a reason, and a reason needs its error.

Usage: openai_python.py REPORT.xml
"""

import re
import sys
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field


@dataclass
class Reason:
    """Holds for the tests whose names match `tests` and which end with `error`."""

    tests: str
    error: str
    text: str
    matched: list = field(default_factory=list)


# The names of their tests are `FILE.CLASS METHOD[CLIENT]`.
REASONS = (
    Reason(
        r"test_completions\S+ test_\w+_(retrieve|update|delete)\[", "404 - There is nothing at /v1/chat/completions/completion_id",
        "The gateway stores no completions.",
    ),
    Reason(r"test_completions\S+ test_\w+_list(_with_all_params)?\[", "405 - Method not allowed", "The gateway stores no completions."),
    Reason(
        r"test_completions\S+ test_method_create_with_all_params_", "400 - Invalid 'max_tokens': it must be a whole number of at least 1",
        "They ask for at most 0 tokens, which OpenAI refuses too.",
    ),
    Reason(
        r"test_responses\S+ test_\w+_(retrieve|delete)(_with_all_params)?(_overload_\d)?\[", "404 - There is nothing at /v1/responses/resp_",
        "The gateway stores no responses.",
    ),
    Reason(r"test_responses\S+ test_\w+_cancel\[", "404 - There is nothing at /v1/responses/resp_", "The gateway runs nothing in the background."),
    Reason(
        r"test_responses\S+ test_\w+_compact(_with_all_params)?\[", "404 - There is nothing at /v1/responses/compact",
        "Only OpenAI compacts, so no other model could stand behind it; /openai/v1/responses/compact passes it, if the operator allows calls that cannot be metered.",
    ),
    Reason(
        r"test_responses\S+ test_method_create_with_all_params_", "400 - Invalid 'store': the gateway stores nothing",
        "They ask for stored, continued background work.",
    ),
    Reason(
        r"test_responses\S+ test_\w+_create_overload_", "400 - Invalid 'input': it is required",
        "They send neither a model nor an input, which OpenAI refuses too.",
    ),
    Reason(
        r"test_input_tokens\S+ test_\w+_count\[", "400 - Invalid 'input': it is required", "They send neither a model nor an input: no model could count it.",
    ),
    Reason(
        r"test_input_tokens\S+ test_method_count_with_all_params\[", "400 - Invalid 'previous_response_id': the gateway stores nothing",
        "They continue a stored response.",
    ),
    Reason(
        r"test_embeddings\S+ test_\w+_create\[(strict|aiohttp)", "Data returned by API invalid for expected schema",
        "Their client asks for base64 by itself, and strict validation of the answer then takes lists of numbers alone.",
    ),
    Reason(r"test_models\S+ test_\w+_delete\[", "405 - Method not allowed", "Models are the operator's: no caller deletes one."),
)


def main(report: str) -> bool:
    names, unexplained = [], []
    for case in xml.parse(report).getroot().iter("testcase"):
        name = f"{case.get('classname').removeprefix('tests.api_resources.')} {case.get('name')}"
        names.append(name)
        for problem in case:
            if problem.tag in ("failure", "error", "skipped") and not explain(name, problem.get("message") or ""):
                unexplained.append((name, problem))
    print_explained()
    for name, problem in unexplained:
        print(f"FAIL  {name}: {problem.get('message')}\n{problem.text}")
    unused = [reason for reason in REASONS if not reason.matched]
    for reason in unused:
        print(f"FAIL  no test ends so any more: {reason.tests} with {reason.error}")
    explained = sum(len(reason.matched) for reason in REASONS)
    print(f"{len(names)} tests: {len(names) - explained - len(unexplained)} pass, {explained} do not for a reason, {len(unexplained)} fail")
    return bool(names) and not unexplained and not unused


def explain(name: str, message: str) -> bool:
    reason = next((reason for reason in REASONS if re.search(reason.tests, name) and reason.error in message), None)
    if reason is not None:
        reason.matched.append(name)
    return reason is not None


def print_explained():
    for reason in REASONS:
        for name in reason.matched:
            print(f"not   {name}: {reason.text}")


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1]) else 1)
