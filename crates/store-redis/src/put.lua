-- Replaces records whose precondition holds. KEYS: the records. ARGV: the precondition, the time to live in
-- milliseconds or 0, whether replicas are waited for (1 or 0), then for each key its new bytes and, for
-- "unchanged", its old ones.
-- Replies 1 when all are stored; otherwise for each key 1, the bytes in the way, or nil where there are none.
local when, ttl, waits = ARGV[1], ARGV[2], ARGV[3] == '1'
-- What is looked up once for a call is not looked up for each row.
local pcall, unpack, sub = redis.pcall, struct.unpack, string.sub
local step = when == 'unchanged' and 2 or 1
local at = 4 - step
local same_shape = when == 'not_newer_same_shape'
local compare = same_shape or when == 'not_newer'
local for_ever = ttl == '0'
local answers
for i = 1, #KEYS do
  at = at + step
  local key, new = KEYS[i], ARGV[at]
  local holds, found
  if compare then
    -- Bytes 4 to 12 of a record are its event time, 20 to 28 its shape. Numbers here are exact to 53 bits
    -- only, so that a time is compared in two halves.
    -- Texts, since the server would print numbers at some cost.
    found = pcall('GETRANGE', key, '4', '27')
    if found == '' then
      holds = true
    elseif #found == 24 then
      local high, low = unpack('>I4I4', found)
      local new_high, new_low = unpack('>I4I4', new, 5)
      holds = (high < new_high or (high == new_high and low <= new_low))
        and (not same_shape or sub(found, 17) == sub(new, 21, 28))
    end
  else
    found = pcall('GET', key)
    if when == 'absent' then
      holds = found == false
    else
      holds = found == ARGV[at + 1]
    end
  end
  local answer = 1
  if holds then
    local stored
    if for_ever then
      stored = pcall('SET', key, new)
    else
      stored = pcall('SET', key, new, 'PX', ttl)
    end
    if stored.err then
      answer = { ok = stored.err }
    end
  elseif type(found) == 'table' then
    answer = { ok = found.err }
  else
    answer = redis.call('GET', key)
    if waits and answer then
      -- What is in the way is an answer too, and replicas may not have it yet: written as it is, it is
      -- among what is waited for.
      local again = pcall('SET', key, answer, 'KEEPTTL')
      if again.err then
        answer = { ok = again.err }
      end
    end
  end
  if answer ~= 1 and not answers then
    answers = {}
    for before = 1, i - 1 do
      answers[before] = 1
    end
  end
  if answers then
    answers[i] = answer
  end
end
return answers or 1
