-- Ends the hold.
if obj.metadata.annotations ~= nil then
  obj.metadata.annotations["drifttrigger.dev/hold"] = nil
end
return obj
