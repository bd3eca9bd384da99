"""The console in a real browser: Chromium, driven over WebDriver.

Screenshots of each page, and when it was first painted, are left in `target/console`.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import servers

ROOT = Path(__file__).parents[3]
SCREENSHOTS = ROOT / "target" / "console"
PROGRAM = Path(sys.executable).parent / "fstore"
EVIL = "<script>document.title='broken'</script>"

# How long a page may take to show something, on a machine that is busy with others, in seconds.
PATIENCE = 60
# The most that a page may have, with what it asks for.
PAGE_BYTES = 100_000

for package in ["selenium", "axe_core_python"]:
    if importlib.util.find_spec(package) is None:
        servers.none("browser", f"the Python package {package} is not installed")

webdriver = pytest.importorskip("selenium.webdriver")
axe = pytest.importorskip("axe_core_python.selenium")

from selenium.common.exceptions import TimeoutException  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.expected_conditions import staleness_of  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402


@dataclass(frozen=True)
class Console:
    data: str
    address: str
    reader: str
    other: str
    settings: Path

    def write(self, entity: dict[str, Any], features: dict[str, Any], **more: Any) -> None:
        self.ask("views/customers/write", {"rows": [{"entity": entity, "features": features, **more}]})

    def page(self, path: str) -> str:
        return f"{self.address}/console/{path}"

    def ask(self, path: str, body: dict[str, Any]) -> None:
        headers = {"content-type": "application/json", "authorization": f"Bearer {self.reader}"}
        request = urllib.request.Request(f"{self.data}/v1/tenants/acme/{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()

    def lookup(self, entity: str) -> str:
        query = urlencode({"tenant": "acme", "view": "customers", "entity": f"customer_id={entity}"})
        return f"{self.address}/console/lookup?{query}"


def key() -> dict[str, str]:
    made = subprocess.run([PROGRAM, "key", "new", "--format", "json"], capture_output=True, check=True)
    own: dict[str, str] = json.loads(made.stdout)
    return own


FEATURES = {"orders": "int64", "country": "string", "comment": "string", "score": "float64"}
VIEW = {"name": "customers", "entities": ["customer_id"], "features": FEATURES, "max_age": "30d"}
DECLARED = {
    "feature_views": [VIEW],
    "feature_services": [{"name": "fraud", "features": ["customers:*"]}],
}


@contextmanager
def serving(folder: Path, declared: dict[str, Any], **stores: str) -> Iterator[Console]:
    """A server with these declarations, for Ada, who may do everything with the tenant acme, and Eve of another."""
    reader, other = key(), key()
    data, admin = servers.free_port(), servers.free_port()
    grants = [
        {"name": "ada", "sha256": reader["sha256"], "tenants": ["acme"], "rights": ["read", "write", "admin"]},
        {"name": "eve", "sha256": other["sha256"], "tenants": ["other"], "rights": ["read"]},
    ]
    settings = {
        "stores": {name: {"url": url} for name, url in (stores or {"main": "embedded::memory:"}).items()},
        "default": {"store": "main"},
        "server": {"listen": f"127.0.0.1:{data}", "admin": f"127.0.0.1:{admin}", "auth": {"keys": grants}},
        **declared,
    }
    # JSON is YAML.
    file = folder / "fstore.yaml"
    file.write_text(json.dumps(settings))
    process = subprocess.Popen([PROGRAM, "--config", str(file), "serve"], stderr=subprocess.DEVNULL)
    try:
        servers.until_listens(process, admin)
        yield Console(f"http://127.0.0.1:{data}", f"http://127.0.0.1:{admin}", reader["key"], other["key"], file)
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    with serving(tmp_path_factory.mktemp("console"), DECLARED) as own:
        own.write({"customer_id": 1}, {"orders": 7, "country": None, "comment": EVIL})
        own.write({"customer_id": 2}, {"orders": 8}, ttl="1ms")
        yield own


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    program, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        servers.none("browser", "there is no chromium or no chromedriver on the PATH")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for argument in ["--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"]:
        options.add_argument(argument)
    own = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield own
    finally:
        own.quit()


@pytest.fixture
def browser(chromium: Any, console: Console) -> Any:
    """Signed in, wide and light."""
    look(chromium, 1440, "light")
    sign_in(chromium, console, console.reader)
    return chromium


def look(browser: Any, width: int, scheme: str) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def sign_in(browser: Any, console: Console, own_key: str) -> None:
    browser.get(console.page("sign-in"))
    browser.delete_all_cookies()
    field = browser.find_element(By.ID, "key")
    field.send_keys(own_key, Keys.ENTER)
    # Going elsewhere before the answer would be to give the sign-in up.
    WebDriverWait(browser, PATIENCE).until(staleness_of(field))
    if own_key in (console.reader, console.other):
        wait_for(browser, "Feature view")


def text(browser: Any) -> str:
    """What can be read on the page, of one moment: it may be about to change."""
    own: str = browser.execute_script("return document.querySelector('main')?.innerText ?? ''")
    return own


def wait_for(browser: Any, part: str) -> None:
    try:
        WebDriverWait(browser, PATIENCE).until(lambda own: part in text(own))
    except TimeoutException:
        pytest.fail(f"`{part}` never appeared at {browser.current_url}, which says: {text(browser)[:500]}")


def row(browser: Any, feature: str) -> str:
    own = browser.find_element(By.XPATH, f"//table//tr[th[@scope='row'][normalize-space()='{feature}']]")
    return " ".join(own.text.split())


def test_a_look_up_shows_each_feature_and_runs_no_value(browser: Any, console: Console) -> None:
    browser.get(console.lookup("1"))
    assert row(browser, "orders").startswith("orders present 7 int64")
    assert row(browser, "country").startswith("country null")
    assert row(browser, "score").startswith("score not_found") and "never written" in row(browser, "score")
    assert EVIL in text(browser)
    assert browser.title == "Look up · fstore"
    browser.get(console.lookup("2"))
    assert row(browser, "orders").startswith("orders not_found")
    assert "Expired: its TTL ended" in text(browser) or "expired and reclaimed" in text(browser)
    browser.get(console.lookup("3"))
    assert row(browser, "orders").startswith("orders not_found") and "There is no record" in text(browser)


def test_a_wrong_key_is_refused_and_another_tenants_key_sees_nothing(chromium: Any, console: Console) -> None:
    sign_in(chromium, console, "fstore_wrong")
    wait_for(chromium, "the credentials are not accepted")
    sign_in(chromium, console, console.other)
    wait_for(chromium, "Feature view")
    chromium.get(console.lookup("1"))
    assert "PermissionDenied" in text(chromium)
    assert "orders" not in text(chromium)


def test_the_keyboard_is_enough(browser: Any, console: Console) -> None:
    browser.get(console.page("lookup"))
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    for typed in ["", "customers", "", "customer_id=1"]:
        browser.switch_to.active_element.send_keys(Keys.TAB)
        browser.switch_to.active_element.send_keys(typed)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(browser, "Features of")
    assert row(browser, "orders").startswith("orders present 7")
    # To the button that deletes, and back out of it.
    tab_to(browser, "Delete this entity…")
    wait_for(browser, "cannot be had back")
    tab_to(browser, "Keep it")
    wait_for(browser, "Features of")
    assert row(browser, "orders").startswith("orders present 7")
    tab_to(browser, "Views")
    wait_for(browser, "1 feature view")


def tab_to(browser: Any, label: str) -> None:
    """Goes to what is called so, and follows it."""
    for _ in range(60):
        browser.switch_to.active_element.send_keys(Keys.TAB)
        if browser.switch_to.active_element.text == label:
            browser.switch_to.active_element.send_keys(Keys.ENTER)
            return
    pytest.fail(f"no key leads to `{label}`")


def test_the_live_page_follows_a_load_by_itself(browser: Any, console: Console) -> None:
    browser.get(console.page("live"))
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        console.ask("views/customers/read", {"entities": [{"customer_id": 1}]})
        if "100.0 %" in text(browser) and "acme" in text(browser):
            break
        time.sleep(0.05)
    else:
        pytest.fail(f"the page never showed the reads, and says: {text(browser)[:500]}")
    assert browser.find_elements(By.CSS_SELECTOR, "svg.chart path")


def test_a_running_migration_is_followed(chromium: Any, redis_server: servers.Server, tmp_path: Path) -> None:
    address = f"redis://{redis_server.host}:{redis_server.port}"
    soon = {"migration": {"refresh": "50ms", "lease": "250ms"}}
    with serving(tmp_path, {**DECLARED, **soon}, main=f"{address}/0", bulk=f"{address}/1") as console:
        for entity in range(600):
            console.write({"customer_id": entity}, {"orders": entity})
        start = [
            "migrate",
            "start",
            "--tenant",
            "acme",
            "--view",
            "customers",
            "--to",
            "bulk",
            "--rows-per-second",
            "20",
        ]
        moving = subprocess.Popen([PROGRAM, "--config", str(console.settings), *start], stdout=subprocess.DEVNULL)
        try:
            look(chromium, 1440, "light")
            sign_in(chromium, console, console.reader)
            chromium.get(console.page("live"))
            # The page goes on by itself, and asks the stores once in ten seconds.
            WebDriverWait(chromium, PATIENCE).until(lambda own: 0 < copied(own) < 600)
            before = copied(chromium)
            assert migration(chromium)[:4] == ["acme: customers", "main", "bulk", "copying"]
            WebDriverWait(chromium, PATIENCE).until(lambda own: before < copied(own))
            assert moving.poll() is None, "it was seen while it was under way"
            for width in [390, 1440]:
                check(chromium, "migration", console.page("live"), width, "light")
        finally:
            moving.kill()
            moving.wait()
        sign_in(chromium, console, console.other)
        chromium.get(console.page("live"))
        assert "acme: customers" not in text(chromium)


def migration(browser: Any) -> list[str]:
    """What the page says of the only migration."""
    script = "return [...document.querySelectorAll('[aria-label=Migrations] tbody tr > *')].map(cell => cell.innerText)"
    cells: list[str] = browser.execute_script(script)
    return cells


def copied(browser: Any) -> int:
    cells = migration(browser)
    return int(cells[6]) if cells else 0


def test_ten_thousand_views_and_a_thousand_tenants_stay_usable(chromium: Any, tmp_path: Path) -> None:
    views = [{"name": f"view_{n:05}", "entities": ["id"], "features": {"a": "int64"}} for n in range(10_000)]
    tenants = [{"tenant": f"t{n:04}", "class": "c", "quota": {"reads_per_s": n + 1}} for n in range(1_000)]
    with serving(
        tmp_path, {"feature_views": views, "tenants": [*tenants, {"tenant": "acme", "class": "own"}]}
    ) as console:
        look(chromium, 1440, "light")
        sign_in(chromium, console, console.reader)
        chromium.get(console.page("views"))
        wait_for(chromium, "1–50 of 10000 feature views")
        chromium.find_element(By.LINK_TEXT, "Last").click()
        wait_for(chromium, "9951–10000 of 10000")
        chromium.find_element(By.ID, "q").send_keys("view_0777", Keys.ENTER)
        wait_for(chromium, "10 feature views")
        chromium.find_element(By.LINK_TEXT, "view_07777").click()
        wait_for(chromium, "Where records go")
        chromium.get(console.page("quotas"))
        wait_for(chromium, "1 rule for tenants")
        # A mistake in the settings, which the server refuses to load.
        console.settings.write_text(console.settings.read_text().replace('"entities"', '"entity"', 1))
        # What was read of the file holds for two seconds.
        WebDriverWait(chromium, PATIENCE).until(
            lambda own: own.get(console.page("settings")) or "cannot be used as they are now" in text(own)
        )
        for name in ["lookup", "views", "quotas", "settings"]:
            check(chromium, f"crowded-{name}", console.page(name), 1440, "light")
            check(chromium, f"crowded-{name}", console.page(name), 390, "dark")


def check(browser: Any, name: str, address: str, width: int, scheme: str) -> float:
    """Looks at a page as it is at this width: when it was first painted, in milliseconds."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    look(browser, width, scheme)
    browser.get(address)
    assert browser.current_url == address, f"{name} leads elsewhere"
    height = browser.execute_script("return document.documentElement.scrollHeight")
    whole = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    shot = browser.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": whole})
    (SCREENSHOTS / f"{name}-{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
    took = browser.execute_script("""
        const all = [...performance.getEntriesByType("navigation"), ...performance.getEntriesByType("resource")];
        const [paint] = performance.getEntriesByName("first-contentful-paint");
        return { bytes: all.reduce((sum, own) => sum + own.encodedBodySize, 0), paint: paint?.startTime };
    """)
    assert 0 < took["bytes"] <= PAGE_BYTES, f"{name}: {took['bytes']} bytes"
    violations = axe.Axe().run(browser)["violations"]
    assert not violations, f"{name}: {json.dumps(violations, indent=1)}"
    painted: float = took["paint"]
    return painted


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_each_page_is_accessible_and_fits(browser: Any, console: Console, width: int, scheme: str) -> None:
    pages = {
        "look-up": console.lookup("1"),
        "delete": console.lookup("1").replace("/lookup", "/delete"),
        "views": console.page("views"),
        "view": console.page("view?name=customers&tenant=acme"),
        "services": console.page("services"),
        "service": console.page("service?name=fraud"),
        "live": console.page("live"),
        "freshness": console.page("freshness?tenant=acme&view=customers"),
        "quotas": console.page("quotas"),
        "settings": console.page("settings"),
        "nothing": console.page("view?name=nothing"),
        "sign-in": console.page("sign-in"),
    }
    painted = {name: check(browser, name, address, width, scheme) for name, address in pages.items()}
    # How long that takes is for people to look at: a test that is timed fails on a machine that is busy.
    lines = "".join(f"{name}: {after:.0f} ms\n" for name, after in painted.items())
    (SCREENSHOTS / f"first-paint-{width}-{scheme}.txt").write_text(lines)
    print(lines)
