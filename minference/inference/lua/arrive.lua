-- It is known when a request counts. ARGV: ticket, then of each meter that counts it from its arrival: label, milliseconds until it
-- counts no more, the amount that was taken.
local name = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local is_under_way = redis.call('ZSCORE', name .. ':flight', ARGV[1])

for i = 2, #ARGV, 3 do
  local window, taken = name .. ':' .. ARGV[i], ARGV[1] .. ':' .. ARGV[i + 2]
  local is_counted = redis.call('ZSCORE', window, taken)
  if not is_counted and is_under_way then -- it had arrived and was counted, and then left once more
    redis.call('INCRBY', window .. ':sum', ARGV[i + 2])
  end
  if is_counted or is_under_way then
    redis.call('ZADD', window, now + tonumber(ARGV[i + 1]), taken)
    redis.call('PEXPIRE', window, 3600000)
    redis.call('PEXPIRE', window .. ':sum', 3600000)
  end
end
redis.call('PUBLISH', name .. ':news', 'arrived')
return {1}
