"""Media in requests: data URLs, base64, and the description that the model gives of them."""

import base64
import binascii
import re

from .refusal import Refusal

IMAGE_TYPES = frozenset(("image/png", "image/jpeg", "image/gif", "image/webp"))


def data_url(url: str, where: str):
    """Returns the type and the bytes of a data URL; `None` for another address."""
    match = re.fullmatch(r"data:([\w.+-]+/[\w.+-]+);base64,(.*)", url, re.DOTALL)
    if match is None:
        if url.startswith("data:"):
            raise Refusal(f"Invalid data URL in '{where}'.", param=where, code="invalid_base64")
        return None
    return match[1], decode(match[2], where)


def decode(text: str, where: str, is_url_safe=False) -> bytes:
    if is_url_safe:
        text = text.replace("-", "+").replace("_", "/").rstrip("=")
        text += "=" * (-len(text) % 4)
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise Refusal(f"Invalid base64 data in '{where}'.", param=where, code="invalid_base64") from None


def seen(mime: str, content: bytes) -> str:
    return f"{mime} {len(content)} bytes"


def address(url: str, where: str) -> str:
    if not re.match(r"https?://[^/\s]+", url):
        raise Refusal(f"Invalid URL in '{where}': only http(s) and data URLs are supported.", param=where, code="invalid_image_url")
    return f"address {url}"


def picture(url: str, where: str) -> str:
    """Returns the description of an image that OpenAI is given by a URL of any kind."""
    inline = data_url(url, where)
    if inline is None:
        return address(url, where)
    if inline[0] not in IMAGE_TYPES:
        raise Refusal(f"You uploaded an unsupported image: {inline[0]}.", param=where, code="invalid_image_format")
    return seen(*inline)


def document(url: str, where: str) -> str:
    inline = data_url(url, where)
    if inline is None:
        raise Refusal(f"Invalid '{where}': expected a base64-encoded data URL with an application/pdf MIME type.", param=where)
    if inline[0] != "application/pdf" or not inline[1].startswith(b"%PDF"):
        raise Refusal(f"Invalid '{where}': the file is not a PDF.", param=where, code="invalid_file")
    return seen(*inline)
