"""The drivers by name."""

from .chat import Chat
from .generate import Generate
from .messages import Messages
from .responses import Responses

DRIVERS = {driver.name: driver for driver in (Chat, Responses, Messages, Generate)}
