"""Quota scopes: a study or workspace with limits, and the Redis scripts that enforce them."""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

#: Seconds until a token count expires. A workspace's count is per day; later counts start from the store.
RETENTION_S = {"workspace": 2 * 86_400, "study": 30 * 86_400}

#: KEYS: calls and tokens key of each scope. ARGV: holder, milliseconds that a slot lasts, then the limits on
#: calls and tokens of each scope, 0 for unlimited. Returns {1, 0} with a slot, {0, 0} without; {-1, n} if
#: scope n has used up its tokens, {-2, n} if its tokens are not counted yet.
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
#: Also restores a holder's slot on a server that was unavailable or lost its data.
RENEW = """
local now = redis.call('TIME')
now = now[1] * 1000 + math.floor(now[2] / 1000)
for i = 1, #KEYS do
  redis.call('ZADD', KEYS[i], now + ARGV[2], ARGV[1])
  redis.call('PEXPIRE', KEYS[i], ARGV[2])
end
"""
#: Skips a missing count: the next acquire loads it from the store.
RECORD_SCRIPT = """
for i = 1, #KEYS do
  if redis.call('EXISTS', KEYS[i]) == 1 then redis.call('INCRBY', KEYS[i], ARGV[i]) end
end
"""


class QuotaScope(NamedTuple):
    """Identifies a study or workspace, with its limits on concurrent calls and tokens; 0: unlimited."""

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
                f"This workspace has used up its {self.tokens:,} tokens of today (UTC). Continue "
                "tomorrow, or ask the operator to raise UNDERSTUDY_LLM_WORKSPACE_TOKENS_PER_DAY."
            )
        return (
            f"This study has used up its {self.tokens:,} tokens. Continue in a new study, or "
            "ask the operator to raise UNDERSTUDY_LLM_STUDY_TOKENS."
        )


def today() -> datetime:
    return datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
