-- A DriftTrigger is healthy while it watches, whatever the model does: drift, a running Job and a
-- suspended trigger are no reason to hold back a sync wave.
-- Its status follows kstatus: observedGeneration, Ready, Stalled.
local function say(status, message)
  return {status = status, message = message}
end

local function tell(condition)
  if condition.message == nil or condition.message == "" then
    return condition.reason
  end
  return condition.reason .. ": " .. condition.message
end

local status = obj.status
if status == nil or status.observedGeneration == nil then
  return say("Progressing", "the operator has not looked at it yet")
end
if status.observedGeneration < obj.metadata.generation then
  return say("Progressing", "the operator has not looked at the latest edit yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type] = condition
end
local ready, stalled, drifted = conditions.Ready, conditions.Stalled, conditions.Drifted

if stalled ~= nil and stalled.status == "True" then
  return say("Degraded", tell(stalled))
end
if ready ~= nil and ready.status == "False" then
  return say("Degraded", tell(ready))
end
if ready ~= nil and ready.status == "True" and drifted ~= nil then
  return say("Healthy", tell(drifted))
end
if ready ~= nil then
  return say("Healthy", tell(ready))
end
return say("Healthy", "the operator has seen it")
