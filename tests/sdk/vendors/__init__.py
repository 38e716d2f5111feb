"""Strict simulators of OpenAI, Anthropic and Google, without dependencies. Start all three with `python -m vendors.main PORT_FILE`."""
