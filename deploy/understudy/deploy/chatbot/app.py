"""ASGI application of the help desk: one endpoint by conversation id, one OpenAI-compatible."""

import asyncio
import hmac
from collections import OrderedDict
from typing import Annotated, Any, Literal

from fastapi import Depends, FastAPI, Header, HTTPException
from pydantic import BaseModel, Field

from understudy.deploy.chatbot.talk import Conversation

_MAX_CONVERSATIONS = 10_000
_Text = Annotated[str, Field(max_length=8_000)]


class Message(BaseModel):
    conversation: Annotated[str, Field(min_length=1, max_length=100)]
    text: _Text


class Said(BaseModel):
    role: Literal["system", "user", "assistant"]
    content: _Text


class Completion(BaseModel):
    model: str = "help-desk"
    messages: Annotated[list[Said], Field(min_length=1, max_length=1_000)]


def create_chatbot(delay_s: float = 0.0, key: str = "") -> FastAPI:
    """Creates a bot with its own memory. Each reply takes `delay_s`; `key` makes it require `Bearer KEY`."""

    async def require_key(authorization: Annotated[str, Header()] = "") -> None:
        if key and not hmac.compare_digest(authorization.encode(), f"Bearer {key}".encode()):
            raise HTTPException(401, "Missing or wrong bearer key.")
        await asyncio.sleep(delay_s)

    bot = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(require_key)])
    bot.state.conversations = conversations = OrderedDict[str, Conversation]()

    @bot.get("/")
    async def about() -> dict[str, str]:
        """Returns the endpoints."""
        return {"by conversation id": "POST /chat", "OpenAI-compatible": "POST /v1/chat/completions"}

    @bot.post("/chat")
    async def chat(message: Message) -> dict[str, Any]:
        """Replies within a conversation. Keeps the 10,000 most recently used conversations."""
        conversation = conversations.setdefault(message.conversation, Conversation())
        conversations.move_to_end(message.conversation)
        while len(conversations) > _MAX_CONVERSATIONS:
            conversations.popitem(last=False)
        text = conversation.reply(message.text)
        return {"reply": {"text": text}, "turn": conversation.turns}

    @bot.post("/v1/chat/completions")
    async def completions(request: Completion) -> dict[str, Any]:
        """Replies without a memory: the request carries the whole conversation, which is replayed."""
        conversation, text = Conversation(), ""
        for message in request.messages:
            if message.role == "user":
                text = conversation.reply(message.content)
        reply = {"role": "assistant", "content": text}
        return {
            "object": "chat.completion",
            "model": request.model,
            "choices": [{"index": 0, "message": reply, "finish_reason": "stop"}],
        }

    return bot
