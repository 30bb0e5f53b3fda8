"""Behind a proxy: the names that are allowed, the path below which the page lives, frames, and always the token."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from browser import PATIENCE_MS
from dashboard_data import write_features, write_labels
from dashboard_server import Dashboard, settings_for
from playwright.sync_api import Browser, expect
from reverse_proxy import ReverseProxy

from dashboard.errors import DashboardError
from dashboard.model.data import Data
from dashboard.server.proxy import Proxy

HUB, PREFIX = "hub.example.org", "/user/me@x.org/proxy/8765"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Data:
    path = tmp_path_factory.mktemp("dashboard")
    write_labels(path / "sae")
    write_features(path / "features")
    return Data(settings_for(path))


@pytest.fixture(scope="module")
def behind(data: Data) -> Iterator[Dashboard]:
    with Dashboard(data, proxy=Proxy.of([HUB], PREFIX + "/", ["https://hub.example.org"])) as dashboard:
        yield dashboard


def token_of(dashboard: Dashboard) -> str:
    return dashboard.address.split("?token=")[1]


def signed_in(dashboard: Dashboard, **headers: str) -> dict[str, str]:
    answer = dashboard.ask(f"/?token={token_of(dashboard)}", **headers)
    assert answer.status == 303 and answer.headers["Location"] == "./"
    return {"Cookie": answer.headers["Set-Cookie"].split(";")[0], **headers}


@pytest.mark.parametrize("host", [HUB, HUB.upper(), f"{HUB}:8443", "127.0.0.1:{}", "localhost:{}"])
def test_an_allowed_name_is_served_to_who_has_the_token(behind: Dashboard, host: str) -> None:
    host = host.format(behind.port)
    assert behind.ask("/api/summary", Host=host).status == 401, "the token is needed on loopback too"
    assert behind.ask("/api/summary", **signed_in(behind, Host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["evil.example", f"{HUB}.evil.example", f"x{HUB}", f"a@{HUB}", "", f"{HUB}:x", f"{HUB}:123456"]
)
def test_another_name_is_refused_and_told_of_the_flag(behind: Dashboard, host: str) -> None:
    answer = behind.ask("/", Host=host)
    assert answer.status == 421 and "--allow-host NAME" in answer.error


def test_the_page_lives_below_the_path_and_without_it(behind: Dashboard) -> None:
    headers = signed_in(behind, Host=HUB)
    for target in (
        "/",
        f"{PREFIX}/",
        f"{PREFIX}/api/summary",
        f"{PREFIX}/style.css",
        "/api/rows/1",
        f"{PREFIX}/api/rows/1",
    ):
        assert behind.ask(target, **headers).status == 200, target
    assert behind.ask(PREFIX.replace("@", "%40") + "/api/summary", **headers).status == 200
    answer = behind.ask(PREFIX, **headers)
    assert (answer.status, answer.headers["Location"]) == (308, "./8765/")
    assert behind.ask("/user/me@x.org/proxy/9999/", **headers).status == 404
    page = behind.ask("/", **headers).body.decode()
    assert 'src="/' not in page and 'href="/' not in page, "every address is relative"


def test_the_cookie_is_for_the_path_alone(behind: Dashboard, data: Data) -> None:
    answer = behind.ask(f"{PREFIX}/?token={token_of(behind)}", Host=HUB)
    assert f"Path={PREFIX}/" in answer.headers["Set-Cookie"].split("; ")
    with Dashboard(data, proxy=Proxy.of([HUB], None, None)) as dashboard:
        target = f"/?token={token_of(dashboard)}"
        told = dashboard.ask(target, Host=HUB, X_Forwarded_Prefix="/user/me/proxy/1").headers["Set-Cookie"]
        assert "Path=/user/me/proxy/1/" in told.split("; ")
        for header in ({}, {"X_Forwarded_Prefix": "/a/../b"}, {"X_Forwarded_Prefix": "/a;Domain=x"}):
            assert "Path" not in dashboard.ask(target, Host=HUB, **header).headers["Set-Cookie"]
        local = dashboard.ask(target, X_Forwarded_Prefix="/x").headers["Set-Cookie"]
        assert "Path" in local and "/x" not in local, "a header counts only where the host is allowed"


def test_only_the_frames_that_were_named_may_show_the_page(behind: Dashboard, data: Data) -> None:
    headers = behind.ask("/", Host=HUB).headers
    assert "X-Frame-Options" not in headers
    assert "frame-ancestors 'self' https://hub.example.org" in headers["Content-Security-Policy"]
    with Dashboard(data, proxy=Proxy.of([HUB], None, None)) as dashboard:
        headers = dashboard.ask("/", Host=HUB).headers
        assert headers["X-Frame-Options"] == "DENY" and "frame-ancestors 'none'" in headers["Content-Security-Policy"]


def test_a_frame_of_another_site_gets_a_cookie_that_it_sends_back(behind: Dashboard) -> None:
    target = f"/?token={token_of(behind)}"
    secure = behind.ask(target, Host=HUB, X_Forwarded_Proto="https").headers["Set-Cookie"]
    assert {"SameSite=None", "Secure", "HttpOnly"} <= set(secure.split("; "))
    assert "SameSite=Strict" in behind.ask(target, Host=HUB).headers["Set-Cookie"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ((["https://hub.example.org"], None, None), "--allow-host 'https://hub.example.org': expected a name"),
        ((["*"], None, None), "--allow-host '*'"),
        ((None, "user/me", None), "--base-path 'user/me': expected a path"),
        ((None, "/a/../b", None), "--base-path"),
        ((None, "//evil.example/", None), "--base-path"),
        ((None, "/{name}/", None), "--base-path"),
        ((None, None, ["hub.example.org"]), "--allow-frame 'hub.example.org': expected an origin"),
        ((None, None, ["https://a b"]), "--allow-frame"),
        ((None, None, ["https://a; script-src *"]), "--allow-frame"),
    ],
)
def test_what_is_no_name_path_or_origin_is_refused(
    flags: tuple[list[str] | None, str | None, list[str] | None], said: str
) -> None:
    with pytest.raises(DashboardError) as refused:
        Proxy.of(*flags)
    assert said in str(refused.value)


@pytest.mark.parametrize("cuts", [True, False], ids=["cut off", "kept"])
def test_in_a_frame_behind_a_proxy_the_page_works(browser: Browser, data: Data, cuts: bool) -> None:
    """hub.localhost is a name that a browser takes to this machine."""
    prefix = "/user/me/proxy/8765"
    with (
        Dashboard(data, proxy=Proxy.of(["hub.localhost"], prefix, ["http://hub.localhost"])) as dashboard,
        ReverseProxy(dashboard.port, prefix, cuts=cuts) as proxy,
    ):
        page = browser.new_page()
        try:
            page.goto(f"http://hub.localhost:{proxy.port}/notebook?token={token_of(dashboard)}", timeout=PATIENCE_MS)
            frame = page.frame_locator("iframe")
            expect(frame.locator("main")).to_contain_text("documents", timeout=PATIENCE_MS)
            frame.locator("nav").get_by_text("Health").click()
            expect(frame.locator("main")).to_contain_text("shards", timeout=PATIENCE_MS)
            page.goto(f"http://hub.localhost:{proxy.port}{prefix}/", timeout=PATIENCE_MS)
            expect(page.locator("main")).to_contain_text("documents", timeout=PATIENCE_MS)
        finally:
            page.close()
