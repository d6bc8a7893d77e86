"""A bare FastAPI long poll: woken by a Redis subscription, then one row is read.

Takes `{"broker_url", "database_url", "channel", "port"}`; serves `GET /wait/{id}`, and `GET /waiting`, how
many do, on loopback until it is ended. Runs in our own environment: nothing in it is not ours, too.
"""

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import redis.asyncio
import sqlalchemy
import uvicorn
from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool

asked = json.loads(sys.argv[1])
bells: dict[str, set[asyncio.Event]] = defaultdict(set)
engine = sqlalchemy.create_engine(asked["database_url"])
row = sqlalchemy.text("SELECT status FROM participant WHERE id = :id")


def read(id_: str) -> str:
    key = UUID(id_).hex if engine.dialect.name == "sqlite" else UUID(id_)
    with engine.connect() as connection:
        return str(connection.scalar(row, {"id": key}))


async def listen() -> None:
    client = redis.asyncio.Redis.from_url(asked["broker_url"])
    async with client.pubsub() as channel:
        await channel.subscribe(asked["channel"])
        async for message in channel.listen():
            if message["type"] == "message":
                for id_ in json.loads(message["data"]):
                    for bell in bells.get(id_, ()):
                        bell.set()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    task = asyncio.create_task(listen())
    yield
    task.cancel()


app = FastAPI(lifespan=lifespan)


@app.get("/wait/{id_}")
async def wait(id_: str) -> dict[str, str]:
    bell = asyncio.Event()
    bells[id_].add(bell)
    await bell.wait()
    return {"status": await run_in_threadpool(read, id_)}


@app.get("/waiting")
async def waiting() -> int:
    return sum(map(len, bells.values()))


uvicorn.run(app, host="127.0.0.1", port=asked["port"], access_log=False, log_level="warning")
