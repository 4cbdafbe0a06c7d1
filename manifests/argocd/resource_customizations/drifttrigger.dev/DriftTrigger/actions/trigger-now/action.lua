-- Asks for one retraining now; the operator answers in status.lastManual.
local os = require("os")
if obj.metadata.annotations == nil then
  obj.metadata.annotations = {}
end
obj.metadata.annotations["drifttrigger.dev/trigger-now"] = os.date("!%Y-%m-%dT%H:%M:%SZ")
return obj
