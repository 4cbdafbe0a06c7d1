-- A Retraining is a record, and stays healthy however it ends: its Job has a health of its own, and
-- an old failure is no present fault. Its spec is immutable, so its generation is never behind.
-- Its status has one condition, Succeeded.
local function say(status, message)
  return {status = status, message = message}
end

local function tell(condition)
  if condition.message == nil or condition.message == "" then
    return condition.reason
  end
  return condition.reason .. ": " .. condition.message
end

for _, condition in ipairs((obj.status or {}).conditions or {}) do
  if condition.type == "Succeeded" then
    return say("Healthy", tell(condition))
  end
end
return say("Progressing", "the operator has not looked at it yet")
