-- What the operator would refuse is greyed out: a request by hand while a Retraining is active or
-- a hold is in place.
local annotations = obj.metadata.annotations or {}
local active = obj.status ~= nil and obj.status.active ~= nil and #obj.status.active > 0
local held = annotations["drifttrigger.dev/hold"] ~= nil

local actions = {}
actions["trigger-now"] = {
  ["disabled"] = active or held,
  ["displayName"] = "Retrain now",
  ["iconClass"] = "fa fa-fw fa-play"
}
actions["hold"] = {
  ["disabled"] = held,
  ["displayName"] = "Hold retrainings",
  ["iconClass"] = "fa fa-fw fa-pause",
  ["params"] = {{["name"] = "until"}, {["name"] = "reason"}}
}
actions["release"] = {
  ["disabled"] = not held,
  ["displayName"] = "Release the hold",
  ["iconClass"] = "fa fa-fw fa-forward"
}
return actions
