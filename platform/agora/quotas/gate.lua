-- One round trip for a request: are the tags what the caller thinks, and is there room in all of its buckets?
-- KEYS: the epoch, the tags, the buckets.
-- ARGV: how many tags; an epoch, should there be none; the stamp that the caller thinks the first tags have, or '';
--       how many tags that stamp is of; then for each bucket its interval in microseconds, its quota and the cost.
-- The clock is Redis' own: those of the callers do not matter.
-- Returns one text, which is cheaper to read than a list: 1, or 0 when the stamp was not right and nothing was charged;
-- the values of epoch and tags; and for each bucket what remains, the microseconds until it is full, and until there is
-- room (0: there was). All of it joined by '|'. When one bucket has no room, none is charged; what is given back, by a
-- cost below 0, is given back all the same.
local tags = tonumber(ARGV[1])
redis.call('SET', KEYS[1], ARGV[2], 'NX')
local values = redis.call('MGET', unpack(KEYS, 1, tags + 1))
for i = 1, tags + 1 do values[i] = values[i] or '' end
if ARGV[3] ~= '' and ARGV[3] ~= table.concat(values, '|', 1, tonumber(ARGV[4]) + 1) then return '0|' .. table.concat(values, '|') end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local found, full, room = {}, {}, true
for i = tags + 2, #KEYS do
  local at = 5 + (i - tags - 2) * 3
  local interval, quota, cost = tonumber(ARGV[at]), tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2])
  -- Not more than used up: a clock that was put back, or that of another host after a fail-over, left a later time.
  local was = math.min(math.max(tonumber(redis.call('GET', KEYS[i]) or 0), now), now + quota * interval)
  local after = math.max(was + cost * interval, now)
  local wait = 0
  if cost > 0 then wait = math.max(0, after - quota * interval - now) end
  if wait > 0 then room = false end
  full[i] = {was, after, interval, quota, wait, cost}
end
for i = tags + 2, #KEYS do
  local was, after, interval, quota, wait, cost = unpack(full[i])
  local at = was
  if room or cost < 0 then
    at = after
    if at > now then
      redis.call('SET', KEYS[i], string.format('%.0f', at), 'PX', math.ceil((at - now) / 1000))
    else
      redis.call('DEL', KEYS[i])
    end
  end
  local remaining = math.max(0, math.floor((quota * interval - (at - now)) / interval))
  found[#found + 1] = string.format('|%.0f|%.0f|%.0f', remaining, at - now, wait)
end
return '1|' .. table.concat(values, '|') .. table.concat(found)
