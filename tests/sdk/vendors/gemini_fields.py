"""The fields of Google's messages. Every name may be written in camel or in snake case; an unknown one is refused."""

from .refusal import Refusal
from .schema import camel

# A plain value is `None`; a list of messages is a list with the name of the message.
MESSAGES = {
    "GenerateContentRequest": {
        "model": None, "contents": ["Content"], "systemInstruction": "Content", "tools": ["Tool"], "toolConfig": "ToolConfig",
        "safetySettings": ["SafetySetting"], "generationConfig": "GenerationConfig", "cachedContent": None, "labels": None,
        "serviceTier": None, "store": None, "continuationToken": None,
    },
    "CountTokensRequest": {"model": None, "contents": ["Content"], "generateContentRequest": "GenerateContentRequest"},
    "BatchEmbedContentsRequest": {"model": None, "requests": ["EmbedContentRequest"]},
    "EmbedContentRequest": {"model": None, "content": "Content", "taskType": None, "title": None, "outputDimensionality": None},
    "Content": {"parts": ["Part"], "role": None},
    "Part": {
        "text": None, "thought": None, "thoughtSignature": None, "inlineData": "Blob", "fileData": "FileData",
        "functionCall": "FunctionCall", "functionResponse": "FunctionResponse", "executableCode": None, "codeExecutionResult": None,
        "toolCall": None, "toolResponse": None, "videoMetadata": None, "mediaResolution": None, "partMetadata": None,
    },
    "Blob": {"mimeType": None, "data": None},
    "FileData": {"mimeType": None, "fileUri": None},
    "FunctionCall": {"id": None, "name": None, "args": None},
    "FunctionResponse": {"id": None, "name": None, "response": None, "parts": ["ResponsePart"], "willContinue": None, "scheduling": None},
    "ResponsePart": {"inlineData": "Blob", "fileData": "FileData"},
    "Tool": {
        "functionDeclarations": ["FunctionDeclaration"], "googleSearch": None, "codeExecution": None, "urlContext": None,
        "googleMaps": None, "fileSearch": None, "computerUse": None, "googleSearchRetrieval": None, "mcpServers": None,
    },
    "FunctionDeclaration": {
        "name": None, "description": None, "parameters": None, "parametersJsonSchema": None, "response": None,
        "responseJsonSchema": None, "behavior": None,
    },
    "ToolConfig": {"functionCallingConfig": "FunctionCallingConfig", "retrievalConfig": None, "includeServerSideToolInvocations": None},
    "FunctionCallingConfig": {"mode": None, "allowedFunctionNames": None},
    "SafetySetting": {"category": None, "threshold": None, "method": None},
    "GenerationConfig": {
        "candidateCount": None, "stopSequences": None, "responseMimeType": None, "responseModalities": None, "responseSchema": None,
        "responseJsonSchema": None, "temperature": None, "topP": None, "topK": None, "maxOutputTokens": None, "seed": None,
        "presencePenalty": None, "frequencyPenalty": None, "responseLogprobs": None, "logprobs": None, "enableEnhancedCivicAnswers": None,
        "speechConfig": None, "thinkingConfig": "ThinkingConfig", "imageConfig": None, "mediaResolution": None, "responseFormat": None,
        "audioTranscriptionConfig": None, "translationConfig": None,
    },
    "ThinkingConfig": {"includeThoughts": None, "thinkingBudget": None, "thinkingLevel": None},
}


def read(value, message: str, path: str = "") -> dict:
    """Returns a message with all names in camel case."""
    if not isinstance(value, dict):
        raise Refusal(f"Invalid value at '{path}': an object is expected.")
    fields = MESSAGES[message]
    result = {}
    for name, inner in value.items():
        kind = fields.get(camel(name), "")
        if kind == "":
            raise Refusal(f'Invalid JSON payload received. Unknown name "{name}" at \'{path or "request"}\': Cannot find field.')
        place = f"{path}.{name}" if path else name
        if inner is not None:
            result[camel(name)] = read_field(inner, kind, place)
    return result


def read_field(value, kind, place: str):
    if kind is None:
        return value
    if isinstance(kind, str):
        return read(value, kind, place)
    if not isinstance(value, list):
        raise Refusal(f"Invalid value at '{place}': an array is expected.")
    return [read(item, kind[0], f"{place}[{index}]") for index, item in enumerate(value)]
