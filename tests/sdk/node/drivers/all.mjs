// The drivers by name.

import { Chat } from "./chat.mjs";
import { Generate } from "./generate.mjs";
import { Messages } from "./messages.mjs";
import { OpenRouter } from "./openrouter.mjs";
import { Responses } from "./responses.mjs";

export const DRIVERS = { chat: Chat, responses: Responses, messages: Messages, generate: Generate, openrouter: OpenRouter };
