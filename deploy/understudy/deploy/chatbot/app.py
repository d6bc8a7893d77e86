"""The help desk's ASGI application: by conversation id, and OpenAI-compatible."""

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
    """The bot, with its own memory. Every reply takes `delay_s`; with `key` it wants `Bearer KEY`."""

    async def require_key(authorization: Annotated[str, Header()] = "") -> None:
        if key and not hmac.compare_digest(authorization.encode(), f"Bearer {key}".encode()):
            raise HTTPException(401, "Who are you?")
        await asyncio.sleep(delay_s)

    bot = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(require_key)])
    bot.state.conversations = known = OrderedDict[str, Conversation]()

    @bot.get("/")
    async def about() -> dict[str, str]:
        """Where to talk to it."""
        return {"by conversation id": "POST /chat", "OpenAI-compatible": "POST /v1/chat/completions"}

    @bot.post("/chat")
    async def chat(message: Message) -> dict[str, Any]:
        """Remembers by `conversation`; ten thousand of them, the longest silent forgotten first."""
        conversation = known.setdefault(message.conversation, Conversation())
        known.move_to_end(message.conversation)
        while len(known) > _MAX_CONVERSATIONS:
            known.popitem(last=False)
        text = conversation.reply(message.text)
        return {"reply": {"text": text}, "turn": conversation.turns}

    @bot.post("/v1/chat/completions")
    async def completions(request: Completion) -> dict[str, Any]:
        """Remembers nothing: what was said is told anew, and lived through anew."""
        conversation, text = Conversation(), ""
        for said in request.messages:
            if said.role == "user":
                text = conversation.reply(said.content)
        message = {"role": "assistant", "content": text}
        return {
            "object": "chat.completion",
            "model": request.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        }

    return bot
