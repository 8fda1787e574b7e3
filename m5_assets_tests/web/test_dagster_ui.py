"""Dagster's webserver and a real browser: another page attacks, with and without the guard; the UI does its work."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import dagster as dg
import httpx
import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse
from starlette.routing import Route
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection as Connection
from websockets.sync.client import connect
from websockets.typing import Subprotocol

from m5_assets_tests.support.dashboard_pages import served
from m5_assets_tests.web.conftest import Site

_PAGE = """<!doctype html><title>kittens</title>
<img src="{delete_by_image}"><img src="{wipe}">
<iframe name="hole"></iframe><form method="post" action="{delete_by_form}" target="hole" enctype="text/plain"></form>
<script>
const ended = [...document.images].map(i => i.complete || new Promise(done => i.onload = i.onerror = done));
const post = (url, more) => fetch(url, {{method: "POST", mode: "no-cors", ...more}}).catch(() => null);
ended.push(post("{delete_by_fetch}", {{body: "x", headers: {{"Content-Type": "text/plain"}}}}));
ended.push(post("{graphql}", {{body: JSON.stringify({{query: "{disguised}"}}),
                               headers: {{"Content-Type": "text/plain; application/json"}}}}));
ended.push(post("{report}"));
ended.push(new Promise(done => {{ document.querySelector("iframe").onload = done; document.forms[0].submit() }}));
const socket = new WebSocket("{graphql}".replace("http", "ws"), "graphql-ws");
ended.push(new Promise(done => {{ socket.onopen = () => done(window.listened = true); socket.onerror = done }}));
Promise.all(ended).then(() => document.title = "done");
</script>"""


@dataclass(frozen=True)
class Prey:
    """What the attack is after."""

    runs: dict[str, str]
    asset: dg.AssetKey
    reported: dg.AssetKey

    @classmethod
    def in_(cls, instance: dg.DagsterInstance, name: str) -> Prey:
        """Create runs and an asset's history in the instance."""
        job = dg.GraphDefinition(name="nothing").to_job()
        instance.report_runless_asset_event(dg.AssetMaterialization(f"old_{name}"))
        ways = ("image", "form", "fetch", "disguise")
        return cls(
            {way: instance.create_run_for_job(job).run_id for way in ways},
            dg.AssetKey(f"old_{name}"),
            dg.AssetKey(f"forged_{name}"),
        )

    def page(self, target: str) -> str:
        """Return the page that attacks the webserver at this address."""
        deletions = {
            way: f'mutation{{deletePipelineRun(runId:"{run}"){{__typename}}}}' for way, run in self.runs.items()
        }
        chosen = f'{{assetKey:{{path:["{self.asset.path[0]}"]}}}}'
        wipe = f"mutation{{wipeAssets(assetPartitionRanges:[{chosen}]){{__typename}}}}"
        urls = {way: f"{target}/graphql?query={quote(query)}" for way, query in (deletions | {"wipe": wipe}).items()}
        return _PAGE.format(
            **{f"delete_by_{way}": url for way, url in urls.items()},
            wipe=urls["wipe"],
            disguised=json.dumps(deletions["disguise"])[1:-1],
            graphql=f"{target}/graphql",
            report=f"{target}/report_asset_materialization/{self.reported.path[0]}",
        )

    def harm(self, instance: dg.DagsterInstance) -> set[str]:
        """Return what the attack did."""
        done = {way for way, run in self.runs.items() if instance.get_run_by_id(run) is None}
        if instance.get_latest_materialization_event(self.asset) is None:
            done.add("wipe")
        if instance.get_latest_materialization_event(self.reported) is not None:
            done.add("report")
        return done


def attack(browser: Chrome, prey: Prey, target: str) -> bool:
    """Open the attacking page, on another port, and return whether it could listen to a web socket."""

    def page(_: Request) -> HTMLResponse:
        return HTMLResponse(prey.page(target))

    with served(Starlette(routes=[Route("/", page)])) as evil:
        browser.get(evil)
        WebDriverWait(browser, 30, 0.05).until(lambda b: b.title == "done")
        return bool(browser.execute_script("return window.listened"))


def test_a_page_on_another_port_deletes_runs_without_the_guard_and_changes_nothing_with_it(
    browser: Chrome, site: Site
) -> None:
    unguarded = Prey.in_(site.instance, "unguarded")
    assert attack(browser, unguarded, site.plain)
    assert unguarded.harm(site.instance) == {"image", "form", "fetch", "disguise", "wipe", "report"}
    guarded = Prey.in_(site.instance, "guarded")
    assert not attack(browser, guarded, site.guarded)
    assert guarded.harm(site.instance) == set()


def test_the_launchpad_launches_a_run_and_its_page_shows_the_log(browser: Chrome, site: Site) -> None:
    before = {run.run_id for run in site.instance.get_runs()}
    browser.get(f"{site.guarded}/locations/shop/jobs/everything/playground")

    def launched() -> str | None:
        for button in browser.find_elements(By.TAG_NAME, "button"):
            if (
                button.text == "Launch Run"
            ):  # gone while a launch is on its way; a click before the page is ready is lost
                button.click()
        return next((run.run_id for run in site.instance.get_runs() if run.run_id not in before), None)

    run_id = until(browser, launched)
    until(browser, lambda: run_of(site, run_id).is_finished)
    assert run_of(site, run_id).status is dg.DagsterRunStatus.SUCCESS
    browser.get(f"{site.guarded}/runs/{run_id}")
    until(browser, lambda: "said while it was built" in browser.find_element(By.TAG_NAME, "body").text)
    debug = httpx.get(f"{site.guarded}/download_debug/{run_id}")
    assert debug.headers["content-type"] == "application/gzip"
    events = [record.dagster_event for record in site.instance.all_logs(run_id)]
    [captured] = [event.logs_captured_data.file_key for event in events if event and event.event_type is CAPTURED]
    printed = f"{site.guarded}/logs/{run_id}/compute_logs/{captured}/out"
    until(browser, lambda: "printed while it was built" in httpx.get(printed).text)


def until(browser: Chrome, holds: Callable[[], Any]) -> Any:
    waiting = WebDriverWait(browser, 60, 0.5, (WebDriverException,))
    return waiting.until(lambda _: holds())


def run_of(site: Site, run_id: str) -> dg.DagsterRun:
    run = site.instance.get_run_by_id(run_id)
    assert run is not None
    return run


CAPTURED = dg.DagsterEventType.LOGS_CAPTURED
SUBSCRIPTION = "subscription{capturedLogs(logKey:[]){stdout}}"


def socket_of(site: Site, **headers: str) -> Connection:
    url = site.guarded.replace("http", "ws") + "/graphql"
    return connect(url, subprotocols=[Subprotocol("graphql-ws")], additional_headers=headers)


def ask(socket: Connection, query: str) -> Any:
    socket.send(json.dumps({"type": "start", "id": "1", "payload": {"query": query}}))
    return json.loads(socket.recv(30))


def test_a_web_socket_subscribes_and_does_nothing_else(site: Site) -> None:
    with socket_of(site, Origin=site.guarded) as socket:
        socket.send('{"type": "connection_init"}')
        assert json.loads(socket.recv(30)) == {"type": "connection_ack"}
        assert ask(socket, SUBSCRIPTION)["type"] == "data"
        ask(socket, 'mutation{deletePipelineRun(runId:"x"){__typename}}')
        with pytest.raises(ConnectionClosed, match="only subscriptions are answered here"):
            list(socket)  # also what the subscription sent before
    with socket_of(site) as socket:
        assert ask(socket, "subscription{")["payload"]["message"].startswith("Syntax Error")
    with pytest.raises(InvalidStatus, match="403"), socket_of(site, Origin="http://127.0.0.1:9999"):
        pass
    with pytest.raises(InvalidStatus, match="400"), socket_of(site, Host="evil.example", Origin="http://evil.example"):
        pass


def test_programs_report_events_and_query(site: Site) -> None:
    reported = httpx.post(f"{site.guarded}/report_asset_materialization/elsewhere?description=by+hand")
    assert reported.json() == {}
    assert site.instance.get_latest_materialization_event(dg.AssetKey("elsewhere")) is not None
    found = httpx.post(f"{site.guarded}/graphql?op=Version", json={"query": "{version}"})
    assert found.json() == {"data": {"version": dg.__version__}}
    assert "GraphiQL" in httpx.get(f"{site.guarded}/graphql", headers={"Accept": "text/html"}).text
