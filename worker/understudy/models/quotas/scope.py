"""Scopes: what has caps of its own, and how the broker's server keeps them."""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

#: A day's count is kept a little longer than the day, a study's until nobody has asked for that long.
RETENTION_S = {"workspace": 2 * 86_400, "study": 30 * 86_400}

#: KEYS: calls and tokens of each scope. ARGV: holder, milliseconds that a place lasts, then calls and tokens
#: allowed of each scope, 0 for any number. Answers {1, 0} with a place, {0, 0} without; {-1, n} when scope n
#: has used up its tokens, {-2, n} when nobody has counted them.
ACQUIRE_SCRIPT = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
local free = 1
for i = 1, #KEYS, 2 do
  local calls, tokens = tonumber(ARGV[i + 2]), tonumber(ARGV[i + 3])
  if tokens > 0 then
    local used = redis.call('GET', KEYS[i + 1])
    if not used then return {-2, (i - 1) / 2} end
    if tonumber(used) >= tokens then return {-1, (i - 1) / 2} end
  end
  if calls > 0 then
    redis.call('ZREMRANGEBYSCORE', KEYS[i], '-inf', now)
    if redis.call('ZCARD', KEYS[i]) >= calls then free = 0 end
  end
end
if free == 0 then return {0, 0} end
for i = 1, #KEYS, 2 do
  if tonumber(ARGV[i + 2]) > 0 then
    redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[1])
    redis.call('PEXPIRE', KEYS[i], ARGV[2])
  end
end
return {1, 0}
"""
#: A server that was away, or lost what it knew, learns again who is inside.
RENEW = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
end
"""
#: What nobody has counted is counted from the store by whoever enters next.
RECORD_SCRIPT = """
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('INCRBY', KEYS[i], ARGV[i]) end
end
"""


class QuotaScope(NamedTuple):
    """What has caps of its own."""

    kind: str
    id: UUID
    calls: int
    tokens: int

    @property
    def calls_key(self) -> str:
        return f"understudy:llm:calls:{self.kind}:{self.id}"

    @property
    def tokens_key(self) -> str:
        day = f":{today():%Y-%m-%d}" if self.kind == "workspace" else ""
        return f"understudy:llm:tokens:{self.kind}:{self.id}{day}"

    @property
    def exhausted_message(self) -> str:
        if self.kind == "workspace":
            return (
                f"This workspace has used up its {self.tokens:,} tokens of today (UTC). Go on tomorrow, or "
                "have UNDERSTUDY_LLM_WORKSPACE_TOKENS_PER_DAY raised."
            )
        return (
            f"This study has used up its {self.tokens:,} tokens. Go on in a new study, or have "
            "UNDERSTUDY_LLM_STUDY_TOKENS raised."
        )


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
