"""Argo CD's Lua, as its application controller and its API server run it.

Scripts of `argocd-cm` get the base library, `require`, `table`, and of `os` no more than `time` and
`date`, by `require("os")`. There is no `string`: a script that needs it passes Argo CD's own tests,
which open everything, and fails at its users. Lists and empty maps are one thing in Lua; Argo CD
mends that when it reads an action's result back, and so does this.
"""

from typing import Any, NamedTuple

from lupa import lua51

Json = dict[str, Any]
OPEN = frozenset(
    [
        "_G",
        "_VERSION",
        "assert",
        "collectgarbage",
        "dofile",
        "error",
        "getfenv",
        "getmetatable",
        "ipairs",
        "load",
        "loadfile",
        "loadstring",
        "module",
        "newproxy",
        "next",
        "package",
        "pairs",
        "pcall",
        "print",
        "rawequal",
        "rawget",
        "rawset",
        "require",
        "select",
        "setfenv",
        "setmetatable",
        "table",
        "tonumber",
        "tostring",
        "type",
        "unpack",
        "xpcall",
    ]
)
CLOSE = """
local open, time, date, parts = ...
local allowed = {}
for name in string.gmatch(open, "%S+") do allowed[name] = true end
getmetatable("").__index = nil
for name in pairs(_G) do if not allowed[name] then _G[name] = nil end end
package.loaded.os = {time = time, date = date}
for name in pairs(package.loaded) do
  if name ~= "os" and name ~= "table" and name ~= "package" and name ~= "_G" then
    package.loaded[name] = nil
  end
end
"""
HEALTHS = frozenset(
    {"Healthy", "Progressing", "Degraded", "Suspended", "Missing", "Unknown"},
)


class Health(NamedTuple):
    """What a health script says."""

    status: str
    message: str


def health(script: str, body: Json) -> Health:
    """Run a `health.lua` on an object."""
    said = _run(script, body)
    assert said["status"] in HEALTHS, said
    return Health(said["status"], said.get("message", ""))


def discover(script: str, body: Json) -> dict[str, Json]:
    """Run a `discovery.lua` on an object; returns the actions by name."""
    return {
        name: {"name": name, "disabled": False, **found}
        for name, found in _run(script, body).items()
    }


def act(script: str, body: Json, **parameters: str) -> Json:
    """Run an `action.lua` on an object; returns the object as Argo CD reads it back."""
    changed = _run(script, body, parameters)
    return _cleaned(changed, body)


def patch_of(before: Any, after: Any) -> Any:
    """Make the merge patch (RFC 7386) that Argo CD sends after an action."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return after
    changed: Json = {name: None for name in before if name not in after}
    for name, value in after.items():
        if name not in before:
            changed[name] = value
        elif before[name] != value:
            changed[name] = patch_of(before[name], value)
    return changed


def _run(script: str, body: Json, parameters: dict[str, str] | None = None) -> Any:
    runtime = lua51.LuaRuntime(unpack_returned_tuples=True, register_eval=False)
    library = runtime.globals().os
    close = runtime.execute("return loadstring(...)", CLOSE)
    close(" ".join(sorted(OPEN)), library.time, library.date)
    names = runtime.globals()
    names.actionParams = _to_lua(runtime, parameters or {})
    names.obj = _to_lua(runtime, body)
    return _from_lua(runtime.execute(script))


def _to_lua(runtime: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return runtime.table_from({name: _to_lua(runtime, inner) for name, inner in value.items()})
    if isinstance(value, list):
        return runtime.table_from([_to_lua(runtime, inner) for inner in value])
    return value


def _from_lua(value: Any) -> Any:
    if lua51.lua_type(value) != "table":
        return value
    if len(value) or not list(value):  # an empty map is an empty list, until it is cleaned
        return [_from_lua(value[index]) for index in range(1, len(value) + 1)]
    return {str(name): _from_lua(inner) for name, inner in value.items()}


def _cleaned(new: Any, old: Any) -> Any:
    """Make maps of the empty lists that were maps."""
    if isinstance(old, dict) and new == []:
        return {}
    if isinstance(old, dict) and isinstance(new, dict):
        return {name: _cleaned(value, old.get(name)) for name, value in new.items()}
    if isinstance(old, list) and isinstance(new, list):
        return [
            _cleaned(value, old[index] if index < len(old) else None)
            for index, value in enumerate(new)
        ]
    return new
