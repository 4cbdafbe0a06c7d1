-- Starts no retrainings until released, or until a time; evaluation goes on, and so do Jobs.
-- Versions of Argo CD without parameters hold forever.
local given = actionParams or {}
local until_when, reason = given["until"], given["reason"]
if until_when == nil or until_when == "" then
  until_when = "forever"
end
if reason == nil or reason == "" then
  reason = "held in Argo CD"
end
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["drifttrigger.dev/hold"] = until_when .. " " .. reason
return obj
