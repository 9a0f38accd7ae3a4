-- A call is over, or somebody left the line. ARGV: ticket, milliseconds after which the provider must know of the request (-1: it did
-- before), then of each meter: label, length of its window in milliseconds, the amount that was taken, the amount that was used.
local name, delay = KEYS[1], tonumber(ARGV[2])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local is_under_way = redis.call('ZSCORE', name .. ':flight', ARGV[1])

for i = 3, #ARGV, 4 do
  local window, sum = name .. ':' .. ARGV[i], name .. ':' .. ARGV[i] .. ':sum'
  local taken = ARGV[1] .. ':' .. ARGV[i + 2]
  local counts_until = now + math.max(delay, 0) + tonumber(ARGV[i + 1])
  local until_then = redis.call('ZSCORE', window, taken)
  if until_then then
    redis.call('ZREM', window, taken)
    redis.call('INCRBY', sum, tonumber(ARGV[i + 3]) - tonumber(ARGV[i + 2]))
    if delay < 0 then
      counts_until = math.min(tonumber(until_then), counts_until)
    end
    redis.call('ZADD', window, counts_until, ARGV[1] .. ':' .. ARGV[i + 3])
  elseif delay >= 0 and is_under_way then -- it had arrived and was counted, and then left once more
    redis.call('INCRBY', sum, ARGV[i + 3])
    redis.call('ZADD', window, counts_until, ARGV[1] .. ':' .. ARGV[i + 3])
  end
  redis.call('PEXPIRE', window, 3600000) -- a window that was empty for a moment has forgotten when it ends
  redis.call('PEXPIRE', sum, 3600000)
end
redis.call('ZREM', name .. ':flight', ARGV[1])
redis.call('ZREM', name .. ':line', ARGV[1])
redis.call('ZREM', name .. ':seen', ARGV[1])
redis.call('PUBLISH', name .. ':news', 'settled')
return {1}
