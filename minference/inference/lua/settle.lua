-- A call is over, or somebody left the line. ARGV: ticket, then of each meter: label, length of its window in milliseconds,
-- the amount that was taken, the amount that was used.
local name = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

for i = 2, #ARGV, 4 do
  local window, sum = name .. ':' .. ARGV[i], name .. ':' .. ARGV[i] .. ':sum'
  local taken = ARGV[1] .. ':' .. ARGV[i + 2]
  local until_then = redis.call('ZSCORE', window, taken)
  if until_then then
    redis.call('ZREM', window, taken)
    redis.call('INCRBY', sum, tonumber(ARGV[i + 3]) - tonumber(ARGV[i + 2]))
    redis.call('ZADD', window, math.min(tonumber(until_then), now + tonumber(ARGV[i + 1])), ARGV[1] .. ':' .. ARGV[i + 3])
  end
end
redis.call('ZREM', name .. ':flight', ARGV[1])
redis.call('ZREM', name .. ':line', ARGV[1])
redis.call('ZREM', name .. ':seen', ARGV[1])
redis.call('PUBLISH', name .. ':news', 'settled')
return {1}
