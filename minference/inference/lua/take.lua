-- Take room for one call, or say after how many milliseconds it is worth asking again, and for how many the provider itself
-- wants nothing.
-- ARGV: ticket, life of a ticket, life of a call, most calls at once (-1: any number), then of each meter:
-- label, limit, length of its window, amount, which is held until somebody says when it counts. Times are in milliseconds.
local name = KEYS[1]
local line, seen, flight = name .. ':line', name .. ':seen', name .. ':flight'
local ticket, ticket_life, call_life, most = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

if redis.call('ZSCORE', flight, ticket) then
  return {1, 0, 0} -- it was taken before, and the answer got lost
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', seen, '-inf', now - ticket_life)) do
  redis.call('ZREM', seen, gone)
  redis.call('ZREM', line, gone)
end
if not redis.call('ZSCORE', line, ticket) then
  redis.call('ZADD', line, redis.call('INCR', name .. ':number'), ticket)
end
redis.call('ZADD', seen, now, ticket)
for _, key in ipairs({line, seen, name .. ':number'}) do
  redis.call('PEXPIRE', key, call_life * 2)
end
if redis.call('ZRANGE', line, 0, 0)[1] ~= ticket then
  return {0, ticket_life, 0}
end

local wait = math.max(0, tonumber(redis.call('GET', name .. ':pause') or 0) - now)
local told = wait
redis.call('ZREMRANGEBYSCORE', flight, '-inf', now)
if most >= 0 and redis.call('ZCARD', flight) >= most then
  wait = math.max(wait, tonumber(redis.call('ZRANGE', flight, 0, 0, 'WITHSCORES')[2]) - now)
end

for i = 5, #ARGV, 4 do
  local window, sum = name .. ':' .. ARGV[i], name .. ':' .. ARGV[i] .. ':sum'
  local limit, amount = tonumber(ARGV[i + 1]), tonumber(ARGV[i + 3])
  for _, old in ipairs(redis.call('ZRANGEBYSCORE', window, '-inf', now)) do
    redis.call('DECRBY', sum, string.match(old, ':(%d+)$'))
    redis.call('ZREM', window, old)
  end
  local missing = tonumber(redis.call('GET', sum) or 0) + amount - limit
  local first = 0
  while missing > 0 do
    local entry = redis.call('ZRANGE', window, first, first, 'WITHSCORES')
    if not entry[1] then
      break
    end
    local used = tonumber(string.match(entry[1], ':(%d+)$'))
    if string.sub(entry[1], 1, 10) == 'elsewhere:' and used + amount > limit then
      told = math.max(told, tonumber(entry[2]) - now)
    end
    missing = missing - used
    first = first + 1
    if missing <= 0 then
      wait = math.max(wait, tonumber(entry[2]) - now)
    end
  end
end
if wait > 0 then
  return {0, math.ceil(wait), math.ceil(told)}
end

for i = 5, #ARGV, 4 do
  local window, sum = name .. ':' .. ARGV[i], name .. ':' .. ARGV[i] .. ':sum'
  local length = tonumber(ARGV[i + 2])
  redis.call('ZADD', window, now + call_life + length, ticket .. ':' .. ARGV[i + 3])
  redis.call('INCRBY', sum, ARGV[i + 3])
  redis.call('PEXPIRE', window, (call_life + length) * 2)
  redis.call('PEXPIRE', sum, (call_life + length) * 2)
end
redis.call('ZADD', flight, now + call_life, ticket)
redis.call('PEXPIRE', flight, call_life * 2)
redis.call('ZREM', line, ticket)
redis.call('ZREM', seen, ticket)
redis.call('PUBLISH', name .. ':news', 'line')
return {1, 0, 0}
