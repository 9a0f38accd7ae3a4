-- The provider wants a pause, or says how much of a limit is used. ARGV: 'pause' or the label of a meter, milliseconds, amount.
local name = KEYS[1]
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local until_then = now + tonumber(ARGV[2])

if ARGV[1] == 'pause' then
  if until_then > tonumber(redis.call('GET', name .. ':pause') or 0) then
    redis.call('SET', name .. ':pause', until_then, 'PX', math.max(1, tonumber(ARGV[2])))
  end
  return {1}
end

local window, sum = name .. ':' .. ARGV[1], name .. ':' .. ARGV[1] .. ':sum'
for _, entry in ipairs(redis.call('ZRANGE', window, 0, -1)) do
  if string.sub(entry, 1, 10) == 'elsewhere:' then
    redis.call('DECRBY', sum, string.match(entry, ':(%d+)$'))
    redis.call('ZREM', window, entry)
  end
end
local elsewhere = tonumber(ARGV[3]) - tonumber(redis.call('GET', sum) or 0)
if elsewhere > 0 then
  redis.call('ZADD', window, until_then, 'elsewhere:' .. elsewhere)
  redis.call('INCRBY', sum, elsewhere)
  redis.call('PEXPIRE', window, 3600000)
  redis.call('PEXPIRE', sum, 3600000)
end
return {1}
