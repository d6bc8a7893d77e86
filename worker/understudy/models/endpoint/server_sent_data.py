"""Server-sent data: the texts of the events of a stream."""

from collections.abc import AsyncIterator

import httpx
from httpx_sse import EventSource


async def server_sent_data(response: httpx.Response) -> AsyncIterator[str]:
    """Yields the data of each event. Events without data, such as an id before a comment, keep a connection alive."""
    # The library insists on a content type that some servers leave out.
    response.headers["content-type"] = "text/event-stream"
    async for event in EventSource(response).aiter_sse():
        if event.data.strip():
            yield event.data
