-- GCRA for all quotas of one key at once: all of them admit the request, or none is charged.
--
-- KEYS[i]  the state of quota i: "<microseconds>:<parts>", the time at which the quota is full again
-- ARGV     five numbers per quota: the cost of one request (whole microseconds, and parts of one), the
--          number of parts of a microsecond, the worth of the burst (whole microseconds, parts)
-- returns  { admitted, wait, tightest quota from 0, remaining, reset }, times in microseconds
--
-- Lua's numbers are doubles, exact up to 2^53 = 9.007e15. Microseconds since 1970 are 1.8e15 now, a burst
-- is worth at most 3.2e14 (ten years) and parts are below 4.3e12, so that every sum here is exact until
-- the year 2244. Fractions of a microsecond are counted in parts: no quota is rounded.
-- The time is Redis's: the clocks of those who ask do not matter.

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

local at, part = {}, {}
local refused, wait, reset = nil, 0, 0

for i = 1, #KEYS do
  local a = i * 5
  local each, each_part, parts = tonumber(ARGV[a - 4]), tonumber(ARGV[a - 3]), tonumber(ARGV[a - 2])
  local full, full_part = tonumber(ARGV[a - 1]), tonumber(ARGV[a])
  at[i], part[i] = now, 0

  local got = redis.pcall('GET', KEYS[i])
  if type(got) == 'table' then return got end
  if got then
    local us, p = string.match(got, '^(%d+):(%d+)$')
    if not us then
      return redis.error_reply('WRONGTYPE what stands in the key is not from this rate limit')
    end
    us, p = tonumber(us), tonumber(p)
    -- Later than ever written: the clock was set back, by hand or by a failover. At most the burst is owed.
    if us > now + full then
      us, p = now + full, full_part
      -- Written although the request is refused: or else it would be until the clock has caught up.
      redis.call('SET', KEYS[i], string.format('%.0f:%.0f', us, p), 'PX', math.floor((full + 1) / 1000) + 1)
    end
    if us >= now then at[i], part[i] = us, p end
  end

  local over = at[i] + each - full - now
  local over_part = part[i] + each_part - full_part
  local carry = math.floor(over_part / parts)
  over, over_part = over + carry, over_part - carry * parts
  if over_part > 0 then over = over + 1 end
  if over > wait then
    refused, wait = i - 1, over
    reset = at[i] - now + (part[i] > 0 and 1 or 0)
  end
end

if refused then return { 0, wait, refused, 0, reset } end

local tightest, remaining = 0, nil
for i = 1, #KEYS do
  local a = i * 5
  local each, each_part, parts = tonumber(ARGV[a - 4]), tonumber(ARGV[a - 3]), tonumber(ARGV[a - 2])
  local full, full_part = tonumber(ARGV[a - 1]), tonumber(ARGV[a])
  local us, p = at[i] + each, part[i] + each_part
  if p >= parts then us, p = us + 1, p - parts end

  local left = us - now + (p > 0 and 1 or 0)
  -- A full quota carries no information, so the key expires then. (tostring would write 1.8e+15.)
  redis.call('SET', KEYS[i], string.format('%.0f:%.0f', us, p), 'PX', math.floor(left / 1000) + 1)

  -- Reported only, never decided on: a double's rounding is harmless here, as long as 48.9999999 is 49.
  local room = (full - (us - now)) + (full_part - p) / parts
  local more = math.max(0, math.floor(room / (each + each_part / parts) + 0.000001))
  if not remaining or more < remaining or (more == remaining and left > reset) then
    tightest, remaining, reset = i - 1, more, left
  end
end
return { 1, 0, tightest, remaining, reset }
