"""Runs every feature in every column and prints the table."""

import warnings

from .all import FEATURES
from .column import Cannot, NotServed, first_line

WIDTH = 10


def run(columns: list, only: str = "") -> bool:
    """Returns whether nothing failed. `only` keeps the rows whose names contain it."""
    warnings.simplefilter("ignore")
    notes = Notes()
    rows = {name: feature for name, feature in FEATURES.items() if only in name}
    print(row("SDK", [column.sdk for column in columns]))
    print(row("provider", [column.provider for column in columns]))
    for name, feature in rows.items():
        print(row(name, [outcome(feature, column, name, notes) for column in columns]), flush=True)
    notes.print()
    for provider, model in {column.provider: column.reasoning_model for column in columns}.items():
        print(f"rows with reasoning, {provider}: {model}")
    return not notes.failures


def row(label: str, cells: list) -> str:
    return f"{label:30}" + "".join(f"{cell:{WIDTH}}" for cell in cells)


def outcome(feature, column, name: str, notes) -> str:
    place = f"{name}, {column.sdk} → {column.provider}"
    try:
        feature(column)
    except Cannot as reason:
        return f"— {notes.of_cannot(str(reason))}"
    except NotServed as reason:
        return f"later {notes.of_later(str(reason), place)}"
    except Exception as error:
        return f"FAIL {notes.of_failure(error, place)}"
    return "ok"


class Notes:
    """The explanations under the table."""

    def __init__(self):
        self.cannots, self.laters, self.failures = [], [], []

    def of_cannot(self, reason: str) -> str:
        if reason not in self.cannots:
            self.cannots.append(reason)
        return chr(ord("a") + self.cannots.index(reason))

    def of_later(self, reason: str, place: str) -> int:
        self.laters.append(f"{place}: {reason}")
        return len(self.laters)

    def of_failure(self, error: Exception, place: str) -> int:
        # A bug in the tests themselves shows its line.
        line = "" if isinstance(error, AssertionError) else f" (line {innermost(error)})"
        self.failures.append(f"{place}: {type(error).__name__}: {first_line(error)}{line}")
        return len(self.failures)

    def print(self):
        print()
        for index, reason in enumerate(self.cannots):
            print(f"— {chr(ord('a') + index)}: {reason}")
        for index, reason in enumerate(self.laters, 1):
            print(f"later {index}: {reason}")
        for index, reason in enumerate(self.failures, 1):
            print(f"FAIL {index}: {reason}")


def innermost(error: Exception) -> str:
    trace = error.__traceback__
    here = None
    while trace is not None:
        name = trace.tb_frame.f_code.co_filename
        if "/features/" in name or "/drivers/" in name:
            here = f"{name.rsplit('/', 2)[-2]}/{name.rsplit('/', 1)[-1]}:{trace.tb_lineno}"
        trace = trace.tb_next
    return here
