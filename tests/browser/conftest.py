"""Fixtures of the browser tests: one browser for all of them, and the reports they open."""

from collections.abc import AsyncIterator

import pytest_asyncio

from support.browser import Tab, browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tab() -> AsyncIterator[Tab]:
    """The page of a real browser; it fails, and says what to install, where there is none."""
    async with browser() as opened:
        yield opened
