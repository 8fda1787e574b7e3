"""The dashboard's web application: routes, request parsing, the context of each template, error pages.

A page's whole state is in its URL. Handlers are synchronous and run in Starlette's thread pool.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast, get_args

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy import Engine
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from m5_assets.dashboard import accuracy_page, colours, exception_rules, explore_page, formatting, overview_page
from m5_assets.dashboard.database import NoDatabase, NoTables, NotFound, NoWeek, Reader, reading
from m5_assets.dashboard.downloads import Form, download
from m5_assets.dashboard.exceptions_page import PAGE_ROWS, ExceptionLists, Filter, counts
from m5_assets.dashboard.last_run import LastRun
from m5_assets.dashboard.scope import Scope, label
from m5_assets.dashboard.static_files import SECURITY_HEADERS, asset, url
from m5_assets.model_specs import MEMBER_NAMES
from m5_assets.web.hosts import LOOPBACK, HostCheck
from m5_assets.web.response_headers import ResponseHeaders
from m5_assets.weeks import Week

_log = logging.getLogger(__name__)

_NAVIGATION = (("/", "Overview"), ("/explore", "Explore"), ("/exceptions", "Exceptions"), ("/accuracy", "Accuracy"))


def create_app(
    engine: Callable[[], Engine],
    *,
    last_run: Callable[[], LastRun | None] = lambda: None,
    hosts: Collection[str] = LOOPBACK,
) -> ASGIApp:
    """Return the application.

    Args:
        engine: returns the database engine; called for every page, because an embedded server may restart.
        last_run: returns Dagster's newest run.
        hosts: allowed host names, without ports (protects against DNS rebinding).
    """
    pages = _Pages(engine, last_run)
    routes = [
        Route("/", pages.overview),
        Route("/explore", pages.explore),
        Route("/explore.{form}", pages.explore_download),
        Route("/items.json", pages.items),
        Route("/exceptions", pages.exceptions),
        Route("/exceptions.{form}", pages.exceptions_download),
        Route("/accuracy", pages.accuracy),
        Route("/accuracy.{form}", pages.accuracy_download),
        Route("/static/{version}/{name}", asset, name="asset"),
    ]
    app = Starlette(
        routes=routes,
        middleware=[Middleware(GZipMiddleware, compresslevel=5)],
        lifespan=pages.warmed,
        exception_handlers={
            NoDatabase: pages.no_database,
            NoTables: pages.nothing_loaded,
            NoWeek: pages.nothing_loaded,
            NotFound: pages.not_found,
            HTTPException: pages.http_error,
            Exception: pages.failed,
        },
    )
    # Around the whole application: Starlette answers a failed page outside its own middleware. Pages are not cached,
    # because the next load changes them.
    return ResponseHeaders(HostCheck(app, hosts), always=SECURITY_HEADERS, default={"Cache-Control": "no-store"})


class _Pages:
    """The request handlers and the state they share."""

    def __init__(self, engine: Callable[[], Engine], last_run: Callable[[], LastRun | None]) -> None:
        self._engine, self._last_run = engine, last_run
        self._lists = ExceptionLists()
        self._templates = Environment(
            loader=FileSystemLoader(Path(__file__).parent / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters |= formatting.FILTERS
        self._templates.globals |= {
            "asset": url,
            "navigation": _NAVIGATION,
            "model_names": colours.MODEL_NAMES,
            "members": MEMBER_NAMES,
            "kinds": exception_rules.KINDS,
            "level_label": label,
            "ratio": formatting.ratio,
        }

    @asynccontextmanager
    async def warmed(self, _: Starlette) -> AsyncIterator[None]:
        """Render a page at startup, because the first one takes several times as long as the others."""
        request = Request({"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []})
        try:
            await run_in_threadpool(self.overview, request)
        except (NoDatabase, NoTables, NoWeek) as problem:
            _log.warning("nothing to show yet; each page says what to do: %s %s", type(problem).__name__, problem)
        yield

    def overview(self, request: Request) -> Response:
        """Show this week's forecast against the last 28 days and the same weeks last year."""
        with self._page(request) as (reader, week, shared):
            totals = overview_page.daily_totals(reader, week)
            listed = counts(self._lists.of(reader, week))
            content = {
                "groups": overview_page.comparison(reader, week),
                "revenue": overview_page.revenue(reader, week),
                "risers": overview_page.movers(reader, week, up=True).to_dict("records"),
                "fallers": overview_page.movers(reader, week, up=False).to_dict("records"),
                "exception_counts": listed,
                "figure": totals.figure(),
                "coming": _coming(totals.events, week),
                "days": totals.table().to_dict("records"),
                "loads": reader.loads(week),
                "last_run": self._last_run(),
                "score": _newest_score(reader, shared["scored_weeks"]),
            }
        return self._render("overview.html", shared | content)

    def explore(self, request: Request) -> Response:
        """Show a place in the hierarchy day by day and the level below it, or the items a search finds."""
        typed = request.query_params.get("q", "").strip()
        with self._page(request) as (reader, week, shared):
            scope, span, page = Scope.of(request.query_params), _span(request), _number(request, "page")
            found = explore_page.search(reader, typed) if typed else None
            if found is not None and [item.casefold() for item in found["item_id"]] == [typed.casefold()]:
                scope, found = Scope(state=scope.state, store=scope.store, item=found["item_id"].iloc[0]), None
            asked: dict[str, Any] = {"typed": typed, "scope": scope, "span": span, "limit": explore_page.SEARCH_ROWS}
            if found is not None:
                return self._render("search.html", shared | {"found": found.to_dict("records"), **asked})
            scope = asked["scope"] = explore_page.settled(reader, scope)
            shown = explore_page.place(reader, scope, week, span)
            children = explore_page.below(reader, scope, week, page)
            pages = _pages(int(children["total"].iloc[0]) if len(children) else 0, explore_page.PAGE_ROWS, page)
            content = asked | {
                "spans": explore_page.SPANS,
                "choices": explore_page.choices(reader, scope),
                "figure": shown.figure(),
                "days": shown.table().iloc[::-1].to_dict("records"),
                "priced": shown.price is not None,
                "coming": _coming(shown.events, week),
                "models": [name for name in colours.MODEL_NAMES if name in shown.forecast],
                "headline": explore_page.summary(shown, week),
                "children": children.to_dict("records"),
                "page": page,
                "pages": pages,
            }
        return self._render("explore.html", shared | content)

    def explore_download(self, request: Request) -> Response:
        """Download the days that Explore shows."""
        with self._page(request) as (reader, week, _):
            scope = explore_page.settled(reader, Scope.of(request.query_params))
            table = explore_page.place(reader, scope, week, _span(request)).table()
        parts = [value for value in scope.parameters.values() if value] or ["all"]
        note = f"Daily units of {scope.name}, forecast of week {week}; sales known through {week.origin}"
        return download(table, f"{'-'.join(parts)}-{week}", _form(request), note)

    def items(self, request: Request) -> Response:
        """Return the item names that contain the typed text, for the search box."""
        with self._reading(request) as reader:
            found = explore_page.search(reader, request.query_params.get("q", ""))
        return JSONResponse(found["item_id"].tolist())

    def exceptions(self, request: Request) -> Response:
        """Show the ranked list of exceptions."""
        with self._page(request) as (reader, week, shared):
            listed, chosen, page = self._lists.of(reader, week), _filter(request), _number(request, "page")
            rows = chosen.of(listed)
            content = {
                "chosen": chosen,
                "counts": counts(chosen.of(listed, any_kind=True)),
                "total": len(rows),
                "units": float(rows["units"].sum()),
                "money": float(rows["money"].sum()),
                "rows": rows.iloc[(page - 1) * PAGE_ROWS : page * PAGE_ROWS].to_dict("records"),
                "first_rank": (page - 1) * PAGE_ROWS + 1,
                "page": page,
                "pages": _pages(len(rows), PAGE_ROWS, page),
                "choices": explore_page.choices(reader, Scope()),
            }
        return self._render("exceptions.html", shared | content)

    def exceptions_download(self, request: Request) -> Response:
        """Download the filtered list, all pages of it."""
        with self._page(request) as (reader, week, _):
            rows = _filter(request).of(self._lists.of(reader, week))
        named = rows.assign(kind=[exception_rules.KINDS[kind].name for kind in rows["kind"]]).rename(
            columns={"units": "units_at_stake", "money": "dollars_at_stake"}
        )
        note = f"Exceptions of week {week}; sales known through {week.origin}. Money at the prices in force then."
        return download(named, f"exceptions-{week}", _form(request), note)

    def accuracy(self, request: Request) -> Response:
        """Show WRMSSE and bias of the weeks whose 28 days of sales are known."""
        with self._page(request) as (reader, week, shared):
            scored = _scored(week, shared["scored_weeks"])
            if scored is None:
                return self._render("no_accuracy.html", shared)
            scores, level = accuracy_page.Scores(reader, scored), _level(request)
            content = {
                "scored": scored,
                "scores": scores.of_week.to_dict("index"),
                "over_weeks": accuracy_page.wide(scores.over_weeks, "week", "wrmsse").to_dict("records"),
                "bias_over_weeks": accuracy_page.wide(scores.over_weeks, "week", "bias").to_dict("records"),
                "by_level": accuracy_page.wide(scores.by_level, "level_name", "wrmsse").to_dict("records"),
                "by_horizon": accuracy_page.wide(scores.by_horizon, "horizon_week", "wrmsse").to_dict("records"),
                "groups": {name: table.to_dict("records") for name, table in scores.by_group().items()},
                "charts": scores.charts(),
                "level": level,
                "levels": accuracy_page.LEVEL_NAMES,
                "worst": _with_scopes(accuracy_page.worst(reader, scored, level)),
                "models": [name for name in colours.MODEL_NAMES if name != "totals"],
            }
        return self._render("accuracy.html", shared | content)

    def accuracy_download(self, request: Request) -> Response:
        """Download the worst series of the chosen level."""
        with self._page(request) as (reader, week, shared):
            scored, level = _scored(week, shared["scored_weeks"]), _level(request)
            if scored is None:
                raise NotFound("No week has been scored yet. Run `m5 score --week W` once its 28 days are known.")
            table = accuracy_page.worst(reader, scored, level)
        note = f"Series of level {level} that cost the most in week {scored}: weight times RMSSE"
        return download(table, f"worst-series-level-{level}-{scored}", _form(request), note)

    def no_database(self, request: Request, problem: Exception) -> Response:
        """Say what to do when PostgreSQL does not respond; log the cause, which may name hosts and users."""
        _log.error("the database does not respond: %s", problem)
        return self._render("no_database.html", self._bare(request), 503)

    def nothing_loaded(self, request: Request, problem: Exception) -> Response:
        """Say how to load a week."""
        if isinstance(problem, NoTables):
            _log.error("the tables cannot be read: %s", problem)
        return self._render("nothing_loaded.html", self._bare(request) | {"tables": isinstance(problem, NoWeek)}, 503)

    def not_found(self, request: Request, problem: Exception) -> Response:
        """Say what does not exist and what to do instead."""
        return self._render("not_found.html", self._bare(request) | {"reason": str(problem)}, 404)

    def http_error(self, request: Request, problem: Exception) -> Response:
        """Answer an unknown URL, an unsupported method or an address that cannot be read."""
        if not isinstance(problem, HTTPException):
            raise problem
        if problem.status_code == 404:
            return self._render("not_found.html", self._bare(request) | {"reason": "There is no such page."}, 404)
        return PlainTextResponse(problem.detail, problem.status_code, problem.headers)

    def failed(self, request: Request, problem: Exception) -> Response:
        """Answer when rendering a page fails; the traceback is in the server's log."""
        _log.error("%s failed: %s", request.url.path, type(problem).__name__)
        return self._render("failed.html", self._bare(request), 500)

    @contextmanager
    def _reading(self, request: Request) -> Iterator[Reader]:
        """Open a database snapshot for a request."""
        if any("\0" in text for pair in request.query_params.multi_items() for text in pair):
            raise HTTPException(
                400, "The address contains a NUL character, which no name has."
            )  # nor any PostgreSQL text
        with reading(self._engine) as reader:
            yield reader

    @contextmanager
    def _page(self, request: Request) -> Iterator[tuple[Reader, Week, dict[str, Any]]]:
        """Open a page's database snapshot and return it with the chosen week and the context every page needs."""
        with self._reading(request) as reader:
            weeks = reader.weeks()
            week = _chosen(request.query_params.get("week", ""), weeks)
            shared = self._bare(request) | {
                "week": week,
                "weeks": weeks,
                "scored_weeks": reader.scored_weeks(),
                "carried": [(k, v) for k, v in request.query_params.multi_items() if k not in ("week", "page") and v],
            }
            yield reader, week, shared

    def _bare(self, request: Request) -> dict[str, Any]:
        return {"path": request.url.path, "query": str(request.url.query), "week": None, "weeks": [], "carried": []}

    def _render(self, template: str, context: dict[str, Any], status: int = 200) -> HTMLResponse:
        return HTMLResponse(self._templates.get_template(template).render(context), status)


def _chosen(key: str, weeks: list[Week]) -> Week:
    if not key:
        return weeks[0]
    for week in weeks:
        if week.key == key:
            return week
    newest, oldest = weeks[0].key, weeks[-1].key
    raise NotFound(
        f"Week {key} is not in the database, which holds {len(weeks)} weeks from {oldest} to {newest}. "
        "Choose one of those, or load it with m5 forecast --week YYYY-MM-DD (the first day of the week)."
    )


def _scored(week: Week, scored: list[Week]) -> Week | None:
    """Return the week if it has been scored, else the newest scored week before it, else the newest scored week."""
    return next((w for w in scored if w <= week), scored[0] if scored else None)


def _coming(events: pd.DataFrame, week: Week) -> list[dict[str, Any]]:
    """Return the events within the forecast horizon: date and name."""
    return _records(events[[day > week.origin for day in events["date"]]])


def _newest_score(reader: Reader, scored: list[Week]) -> dict[str, Any] | None:
    if not scored:
        return None
    rows = accuracy_page.Scores(reader, scored[0]).of_week
    return {"week": scored[0], "models": rows.to_dict("index")}


def _with_scopes(series: pd.DataFrame) -> list[dict[str, Any]]:
    """Return the rows, each with its place in the hierarchy as `scope`."""
    columns = {"state": "state_id", "store": "store_id", "cat": "cat_id", "dept": "dept_id", "item": "item_id"}
    rows = _records(series.astype(object).where(series.notna(), None))
    return [row | {"scope": Scope(**{k: row[column] for k, column in columns.items()})} for row in rows]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _number(request: Request, name: str) -> int:
    value = request.query_params.get(name, "1")
    if not value.isascii() or not value.isdigit() or not 1 <= len(value) <= 6 or int(value) < 1:
        raise NotFound(f"{name}={value} is not a page number: leave it out for the first page.")
    return int(value)


def _span(request: Request) -> int:
    value = request.query_params.get("history", "") or str(explore_page.DEFAULT_SPAN)
    if value not in map(str, explore_page.SPANS):
        raise NotFound(
            f"history={value} is not available: choose one of {', '.join(map(str, explore_page.SPANS))} days."
        )
    return int(value)


def _level(request: Request) -> int:
    value = request.query_params.get("level", "") or "12"
    if value not in map(str, accuracy_page.LEVEL_NAMES):
        raise NotFound(f"level={value} is not one of the twelve levels: choose 1 to 12.")
    return int(value)


def _filter(request: Request) -> Filter:
    chosen = {name: request.query_params.get(name) or None for name in ("kind", "store", "dept")}
    if chosen["kind"] and chosen["kind"] not in exception_rules.KINDS:
        raise NotFound(
            f"kind={chosen['kind']} is not a kind of exception: choose one of {', '.join(exception_rules.KINDS)}."
        )
    return Filter(**chosen)


def _pages(rows: int, size: int, page: int) -> int:
    """Return how many pages the rows fill.

    Raises:
        NotFound: this page is not one of them.
    """
    pages = max(1, -(-rows // size))
    if page > pages:
        raise NotFound(f"page={page} is past the last page: leave it out for the first page.")
    return pages


def _form(request: Request) -> Form:
    form: str = request.path_params["form"]
    if form not in get_args(Form):
        raise NotFound(f"Downloads are available as {' or '.join(get_args(Form))}, not as {form}.")
    return cast(Form, form)
