"""`drifttrigger get`: triggers and Retrainings in a table, as JSON or YAML, once or as they change.

Columns are the API server's own (a Table), so they are those of `kubectl get`.
"""

import asyncio
from collections.abc import AsyncIterator

import click
import msgspec

from drifttrigger.api.errors import ConflictError, NotFoundError, UsageError
from drifttrigger.cli.completion import complete_names
from drifttrigger.cli.connection import Cluster, Connection, connection_options
from drifttrigger.cli.printing import (
    Rows,
    align,
    aligned,
    as_document,
    print_table,
    widths_of,
    without_bookkeeping,
)
from drifttrigger.clients.kube import DRIFT_TRIGGERS, RETRAININGS, Json, Resource
from drifttrigger.clients.transport import JSON
from drifttrigger.clients.viewing import TABLE, read, watch

_KINDS = {
    **dict.fromkeys(("drifttriggers", "drifttrigger", "triggers", "dt"), DRIFT_TRIGGERS),
    **dict.fromkeys(("retrainings", "retraining", "rt"), RETRAININGS),
}
_PAGE = 500


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What to get, and how to show it."""

    resource: Resource
    names: tuple[str, ...]
    everywhere: bool
    selector: str
    output: str

    @property
    def is_table(self) -> bool:
        """Whether columns are shown, not whole objects."""
        return self.output in ("table", "wide")

    @property
    def accept(self) -> str:
        """What to ask the API server for."""
        return TABLE if self.is_table else JSON

    def path(self, cluster: Cluster) -> str:
        """Path of the collection."""
        return self.resource.path(None if self.everywhere else cluster.namespace)

    def query(self) -> list[tuple[str, str]]:
        """Selectors."""
        return [("labelSelector", self.selector)] if self.selector else []

    def wants(self, name: str) -> bool:
        """Whether an object of this name was asked for."""
        return not self.names or name in self.names


@click.command()
@click.argument("names", nargs=-1, shell_complete=complete_names, metavar="[KIND] [NAME]...")
@click.option("-A", "--all-namespaces", is_flag=True, help="Look at all namespaces.")
@click.option("-l", "--selector", default="", help="Labels, as kubectl's.")
@click.option("-w", "--watch", "follow", is_flag=True, help="Print changes too, until Ctrl-C.")
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "wide", "json", "yaml"]),
    default="table",
    show_default=True,
)
@connection_options
def get(
    connection: Connection,
    *,
    names: tuple[str, ...],
    all_namespaces: bool,
    selector: str,
    follow: bool,
    output: str,
) -> None:
    """List triggers, or those called NAME.

    KIND is drifttriggers (dt, the default) or retrainings (rt). The Retrainings of one trigger:
    `get rt -l drifttrigger.dev/trigger=NAME`.
    """
    resource = DRIFT_TRIGGERS
    if names and names[0] in _KINDS:
        resource, names = _KINDS[names[0]], names[1:]
    if names and all_namespaces:
        raise click.UsageError("a NAME is of one namespace: leave out -A, or the NAME")
    asked = Asked(
        resource=resource,
        names=names,
        everywhere=all_namespaces,
        selector=selector,
        output=output,
    )
    asyncio.run(_get(connection, asked, follow=follow))


async def _get(connection: Connection, asked: Asked, *, follow: bool) -> None:
    async with connection.open() as cluster:
        answer = await _list(cluster, asked)
        if asked.is_table:
            await _show_table(cluster, asked, answer, follow=follow)
        else:
            await _show_objects(cluster, asked, answer, follow=follow)


async def _list(cluster: Cluster, asked: Asked) -> Json:
    """Read all pages of the collection, or the objects named, as one answer."""
    if asked.names:
        return await _named(cluster, asked)
    key, token = "rows" if asked.is_table else "items", ""
    answer: Json = {}
    while True:
        query = [*asked.query(), ("limit", str(_PAGE)), *([("continue", token)] if token else [])]
        page = await read(cluster.kube, asked.path(cluster), query=query, accept=asked.accept)
        answer = {**(answer or page), key: [*answer.get(key, []), *(page.get(key) or [])]}
        answer["metadata"] = page.get("metadata") or {}
        token = answer["metadata"].get("continue") or ""
        if not token:
            return answer


async def _named(cluster: Cluster, asked: Asked) -> Json:
    key = "rows" if asked.is_table else "items"
    answer: Json = {}
    for name in asked.names:
        path = asked.resource.path(cluster.namespace, name)
        try:
            found = await read(cluster.kube, path, accept=asked.accept)
        except NotFoundError as error:
            if "page not found" in str(error):
                raise
            kind = asked.resource.kind
            raise UsageError(
                f"there is no {kind} {name} in namespace {cluster.namespace};"
                f" `drifttrigger get {asked.resource.plural} -A` lists all"
            ) from error
        rows = found["rows"] if asked.is_table else [found]
        answer = {**(answer or found), key: [*answer.get(key, []), *rows]}
    return answer


async def _show_table(cluster: Cluster, asked: Asked, answer: Json, *, follow: bool) -> None:
    columns = _columns(answer, wide=asked.output == "wide")
    table = _rows(answer, columns, everywhere=asked.everywhere)
    if not table.rows and not follow:
        where = "" if asked.everywhere else f" in namespace {cluster.namespace}"
        click.echo(f"No {asked.resource.plural} found{where}.", err=True)
        return
    if not follow:
        print_table(table)
        return
    widths = widths_of(table)
    for line in aligned(table):
        click.echo(line)
    async for change in _changes(cluster, asked, since=answer["metadata"]["resourceVersion"]):
        found = _rows(change, columns, everywhere=asked.everywhere)
        wanted = zip(change.get("rows") or [], found.rows, strict=True)
        for row, cells in wanted:
            if asked.wants(_metadata(row)["name"]):
                click.echo(align(cells, widths))


def _columns(answer: Json, *, wide: bool) -> list[tuple[int, str]]:
    """Return place and name of the columns to show."""
    found = enumerate(answer.get("columnDefinitions") or [])
    return [
        (place, str(column["name"]).upper())
        for place, column in found
        if wide or not column.get("priority")
    ]


def _rows(answer: Json, columns: list[tuple[int, str]], *, everywhere: bool) -> Rows:
    headers = tuple(name for _, name in columns)
    rows = []
    for row in answer.get("rows") or []:
        cells = tuple(_cell(row["cells"][place]) for place, _ in columns)
        rows.append((_metadata(row).get("namespace", ""), *cells) if everywhere else cells)
    return Rows(("NAMESPACE", *headers) if everywhere else headers, tuple(rows))


def _cell(value: object) -> str:
    return "" if value is None else str(value)


def _metadata(row: Json) -> Json:
    return (row.get("object") or {}).get("metadata") or {}


async def _show_objects(cluster: Cluster, asked: Asked, answer: Json, *, follow: bool) -> None:
    items = [without_bookkeeping(item) for item in answer["items"]]
    if asked.names and len(items) == 1:
        _document(items[0], asked.output)
    else:
        _document({"apiVersion": "v1", "kind": "List", "items": items}, asked.output)
    if not follow:
        return
    since = answer["metadata"]["resourceVersion"]
    async for change in _changes(cluster, asked, since=since):
        if asked.wants(change["metadata"]["name"]):
            _document(without_bookkeeping(change), asked.output, is_next=True)


def _document(value: Json, form: str, *, is_next: bool = False) -> None:
    if is_next and form == "yaml":
        click.echo("---")
    click.echo(as_document(value, form))


async def _changes(cluster: Cluster, asked: Asked, *, since: str) -> AsyncIterator[Json]:
    """Yield what changes, however often the server ends the watch."""
    while True:
        try:
            events = watch(
                cluster.kube,
                asked.path(cluster),
                since=since,
                query=asked.query(),
                accept=asked.accept,
            )
            async for kind, body in events:
                since = _version(body) or since
                if kind != "BOOKMARK":
                    yield body
        except ConflictError:
            # Our place in the history is gone; what happened meanwhile shows in the list.
            fresh = await _list(cluster, asked)
            since = fresh["metadata"]["resourceVersion"]
            for body in [fresh] if asked.is_table else fresh["items"]:
                yield body


def _version(body: Json) -> str:
    rows = body.get("rows") or []
    metadata = _metadata(rows[-1]) if rows else body.get("metadata") or {}
    return str(metadata.get("resourceVersion") or "")
