-- The provider knows of a request. ARGV: ticket, then of each meter that counts it from now on: label, length of its window in
-- milliseconds, the amount that was taken.
local name = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

for i = 2, #ARGV, 3 do
  local window, taken = name .. ':' .. ARGV[i], ARGV[1] .. ':' .. ARGV[i + 2]
  local until_then = redis.call('ZSCORE', window, taken)
  if until_then then
    redis.call('ZADD', window, math.min(tonumber(until_then), now + tonumber(ARGV[i + 1])), taken)
  end
end
redis.call('PUBLISH', name .. ':news', 'arrived')
return {1}
