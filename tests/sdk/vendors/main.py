"""Starts the three vendors on free loopback ports and writes their addresses as JSON.

Usage: python -m vendors.main PORT_FILE
"""

import asyncio
import json
import pathlib
import signal
import sys

from .anthropic import Anthropic
from .gemini import Gemini
from .openai import OpenAi

VENDORS = {"openai": OpenAi, "anthropic": Anthropic, "gemini": Gemini}


async def serve(port_file: pathlib.Path):
    stopped = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stopped.set)
    addresses = {name: await vendor().server.start() for name, vendor in VENDORS.items()}
    # Whoever waits for the file must never read half of it.
    draft = port_file.with_suffix(".draft")
    draft.write_text(json.dumps(addresses))
    draft.rename(port_file)
    await stopped.wait()


if __name__ == "__main__":
    asyncio.run(serve(pathlib.Path(sys.argv[1])))
