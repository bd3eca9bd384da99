"""The console in a real browser: Chromium, driven over WebDriver."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
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

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
axe = pytest.importorskip("axe_core_python.selenium", reason="axe-core is not installed")

from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.common.keys import Keys  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402


@dataclass(frozen=True)
class Console:
    data: str
    address: str
    reader: str
    other: str

    def write(self, entity: dict[str, Any], features: dict[str, Any], **more: Any) -> None:
        self.ask("views/customers/write", {"rows": [{"entity": entity, "features": features, **more}]})

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


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Console]:
    folder = tmp_path_factory.mktemp("console")
    reader, other = key(), key()
    data, admin = servers.free_port(), servers.free_port()
    grants = [
        {"name": "ada", "sha256": reader["sha256"], "tenants": ["acme"], "rights": ["read", "write", "admin"]},
        {"name": "eve", "sha256": other["sha256"], "tenants": ["other"], "rights": ["read"]},
    ]
    features = {"orders": "int64", "country": "string", "comment": "string", "score": "float64"}
    view = {"name": "customers", "entities": ["customer_id"], "features": features, "max_age": "30d"}
    settings = {
        "stores": {"main": {"url": "embedded::memory:"}},
        "server": {"listen": f"127.0.0.1:{data}", "admin": f"127.0.0.1:{admin}", "auth": {"keys": grants}},
        "feature_views": [view],
        "feature_services": [{"name": "fraud", "features": ["customers:*"]}],
    }
    # JSON is YAML.
    (folder / "fstore.yaml").write_text(json.dumps(settings))
    process = subprocess.Popen([PROGRAM, "--config", str(folder / "fstore.yaml"), "serve"], stderr=subprocess.DEVNULL)
    try:
        servers.until_listens(process, admin)
        own = Console(f"http://127.0.0.1:{data}", f"http://127.0.0.1:{admin}", reader["key"], other["key"])
        own.write({"customer_id": 1}, {"orders": 7, "country": None, "comment": EVIL})
        own.write({"customer_id": 2}, {"orders": 8}, ttl="1ms")
        yield own
    finally:
        process.terminate()
        process.wait()


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
    browser.get(f"{console.address}/console/sign-in")
    browser.delete_all_cookies()
    browser.find_element(By.ID, "key").send_keys(own_key, Keys.ENTER)
    WebDriverWait(browser, 10).until(lambda own: own.find_elements(By.CSS_SELECTOR, "h1, .problem"))


def text(browser: Any) -> str:
    """What can be read on the page, of one moment: it may be about to change."""
    own: str = browser.execute_script("return document.querySelector('main').innerText")
    return own


def wait_for(browser: Any, part: str) -> None:
    WebDriverWait(browser, 20).until(lambda own: part in text(own))


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


def test_a_wrong_key_is_refused_and_another_tenants_key_sees_nothing(chromium: Any, console: Console) -> None:
    sign_in(chromium, console, "fstore_wrong")
    wait_for(chromium, "the credentials are not accepted")
    sign_in(chromium, console, console.other)
    wait_for(chromium, "Feature view")
    chromium.get(console.lookup("1"))
    assert "PermissionDenied" in text(chromium)
    assert "orders" not in text(chromium)


def test_the_keyboard_is_enough(browser: Any, console: Console) -> None:
    browser.get(f"{console.address}/console/lookup")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    assert browser.switch_to.active_element.text == "Skip to the content"
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    for typed in ["", "customers", "", "customer_id=1"]:
        browser.switch_to.active_element.send_keys(Keys.TAB)
        browser.switch_to.active_element.send_keys(typed)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    wait_for(browser, "Features of")
    assert row(browser, "orders").startswith("orders present 7")


def test_the_live_page_follows_a_load_by_itself(browser: Any, console: Console) -> None:
    browser.get(f"{console.address}/console/live")
    end = time.monotonic() + 60
    while time.monotonic() < end:
        console.ask("views/customers/read", {"entities": [{"customer_id": 1}]})
        if "100.0 %" in text(browser) and "acme" in text(browser):
            break
        time.sleep(0.05)
    else:
        pytest.fail("the page never showed the reads")
    assert browser.find_elements(By.CSS_SELECTOR, "svg.chart path")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_each_page_is_accessible_and_fits(browser: Any, console: Console, width: int, scheme: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    look(browser, width, scheme)
    pages = {
        "look-up": console.lookup("1"),
        "delete": console.lookup("1").replace("/lookup", "/delete"),
        "views": f"{console.address}/console/views",
        "view": f"{console.address}/console/view?name=customers&tenant=acme",
        "services": f"{console.address}/console/services",
        "service": f"{console.address}/console/service?name=fraud",
        "live": f"{console.address}/console/live",
        "freshness": f"{console.address}/console/freshness?tenant=acme&view=customers",
        "quotas": f"{console.address}/console/quotas",
        "nothing": f"{console.address}/console/view?name=nothing",
        "sign-in": f"{console.address}/console/sign-in",
    }
    for name, address in pages.items():
        browser.get(address)
        browser.save_screenshot(str(SCREENSHOTS / f"{name}-{width}-{scheme}.png"))
        assert browser.execute_script("return document.documentElement.scrollWidth") <= width, name
        violations = axe.Axe().run(browser)["violations"]
        assert not violations, f"{name}: {json.dumps(violations, indent=1)}"
