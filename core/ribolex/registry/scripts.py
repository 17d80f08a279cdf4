"""What happens in Redis in one step: the scripts of the registry and its keys.

Each answers a list: a word for how it went, and what belongs to it. Whoever changes
something writes the event in the same step. Wants Redis 7 or Valkey, no cluster.
"""

from typing import NamedTuple

PREFIX = "ribolex:registry:"
NAMES = f"{PREFIX}names"
"""Set of the names that anything was published under."""
EVENTS = f"{PREFIX}events"
"""Stream: kind, name, version, time_s."""
TOKENS = f"{PREFIX}tokens"
"""Counter of the leases given out."""

MAX_EVENTS = 10_000
"""The stream is cut to about so many; who is further behind is told all anew."""


class Keys(NamedTuple):
    """The keys of one name, in the order in which scripts take them."""

    versions: str
    """Hash: version to "TIME\\nMANIFEST"."""
    contents: str
    """Hash: content id to version, the lowest of several."""
    retired: str
    """Hash: version to time; outlives the version's purge."""
    current: str
    """Hash: version and time_s; not there if none was set."""
    last: str
    """The last version number that was given out."""
    lease: str
    """The token of the publisher at work; expires by itself."""
    names: str = NAMES
    events: str = EVENTS
    tokens: str = TOKENS

    @classmethod
    def of(cls, name: str) -> "Keys":
        """Returns the keys of a name."""
        return cls(*(f"{PREFIX}{field}:{name}" for field in cls._fields[:6]))


_HEAD = f"""
local versions, contents, retired = KEYS[1], KEYS[2], KEYS[3]
local current, last, lease = KEYS[4], KEYS[5], KEYS[6]
local names, events, tokens = KEYS[7], KEYS[8], KEYS[9]
local clock = redis.call('TIME')
local now = string.format('%d.%06d', clock[1], clock[2])
local function tell(kind, name, version)
  redis.call('XADD', events, 'MAXLEN', '~', {MAX_EVENTS}, '*',
    'kind', kind, 'name', name, 'version', version, 'time_s', now)
end
"""

LEASE = (
    _HEAD
    + """
local secret, ttl_ms = ARGV[1], ARGV[2]
if redis.call('EXISTS', lease) == 1 then return {'held', ''} end
local token = redis.call('INCR', tokens) .. ':' .. secret
redis.call('SET', lease, token, 'PX', ttl_ms)
return {'ok', token}
"""
)
"""Gives out the lease of a name, with a token that none had before."""

EXTEND = (
    _HEAD
    + """
local token, ttl_ms = ARGV[1], tonumber(ARGV[2])
if redis.call('GET', lease) ~= token then return {'stale', ''} end
if ttl_ms > 0 then redis.call('PEXPIRE', lease, ttl_ms)
else redis.call('DEL', lease) end
return {'ok', ''}
"""
)
"""Prolongs a lease, or gives it back, if it is still that token's."""

ALLOCATE = (
    _HEAD
    + """
local token, content_id, taken = ARGV[1], ARGV[2], tonumber(ARGV[3])
if redis.call('GET', lease) ~= token then return {'stale', ''} end
local known = redis.call('HGET', contents, content_id)
if known then return {'exists', known} end
local version = math.max(tonumber(redis.call('GET', last) or '0'), taken) + 1
redis.call('SET', last, version)
return {'ok', tostring(version)}
"""
)
"""Gives out a version number, which nobody else ever gets."""

PUBLISH = (
    _HEAD
    + """
local token, name, version = ARGV[1], ARGV[2], ARGV[3]
local content_id, manifest = ARGV[4], ARGV[5]
if redis.call('GET', lease) ~= token then return {'stale', ''} end
redis.call('SADD', names, name)
redis.call('HSET', versions, version, now .. '\\n' .. manifest)
local twin = tonumber(redis.call('HGET', contents, content_id))
if not twin or tonumber(version) < twin then
  redis.call('HSET', contents, content_id, version)
end
tell('published', name, version)
return {'ok', ''}
"""
)
"""Makes a version known whose files are there whole."""

SET_CURRENT = (
    _HEAD
    + """
local name, version, expected = ARGV[1], ARGV[2], ARGV[3]
if redis.call('HEXISTS', retired, version) == 1 then return {'retired', ''} end
if redis.call('HEXISTS', versions, version) == 0 then return {'missing', ''} end
local found = redis.call('HGET', current, 'version') or ''
if found ~= expected then return {'stale', found} end
redis.call('HSET', current, 'version', version, 'time_s', now)
tell('current', name, version)
return {'ok', ''}
"""
)
"""Moves the pointer if it is where it is expected; '' is nowhere."""

CLEAR_CURRENT = (
    _HEAD
    + """
if redis.call('HGET', current, 'version') ~= ARGV[1] then return {'stale', ''} end
redis.call('DEL', current)
return {'ok', ''}
"""
)
"""Takes the pointer away if it names that version."""

RETIRE = (
    _HEAD
    + """
local name, version = ARGV[1], ARGV[2]
if redis.call('HEXISTS', retired, version) == 1 then return {'ok', ''} end
if redis.call('HEXISTS', versions, version) == 0 then return {'missing', ''} end
if redis.call('HGET', current, 'version') == version then return {'current', ''} end
redis.call('HSET', retired, version, now)
tell('retired', name, version)
return {'ok', ''}
"""
)
"""Marks a version as retired."""

FORGET = (
    _HEAD
    + """
local version = ARGV[1]
redis.call('HDEL', versions, version)
local known = redis.call('HGETALL', contents)
for i = 1, #known, 2 do
  if known[i + 1] == version then redis.call('HDEL', contents, known[i]) end
end
return {'ok', ''}
"""
)
"""Drops what is known of a purged version, but not that it was retired."""
