"""Pure decisions: no I/O, no clock, no logging, no asyncio. Everything here takes `now`."""
