"""The built documentation in headless Chromium: ``pytest -m browser`` after building it."""

import functools
import http.server
import shutil
import tempfile
import threading
from pathlib import Path

import pytest

SITE = Path(__file__).parents[2] / "docs" / "_build"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
pytestmark = [pytest.mark.browser, pytest.mark.slow]

PAGES = [
    "index.html",
    "install.html",
    "ten_minutes.html",
    "guide/index.html",
    "guide/settings.html",
    "guide/encoders.html",
    "guide/pipelines.html",
    "theory.html",
    "evidence/index.html",
    "evidence/tables.html",
    "speed.html",
    "reliability.html",
    "coming_from.html",
    "glossary.html",
    "contributing.html",
    "api.html",
    "generated/api/skhug.HUGClassifier.html",
    "generated/api/skhug.metrics.retrieval_report.html",
    "auto_examples/index.html",
    "auto_examples/plot_quickstart.html",
]
WIDTHS = [400, 1400]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-unsafe-swiftshader",  # WebGL without a GPU
]


# What of the text reaches beyond the window and cannot be scrolled to inside a box of its own.
SPILLED = """
    const scrolls = e => ["auto", "scroll"].includes(getComputedStyle(e).overflowX);
    const inBox = e => {
        for (e = e.parentElement; e && !e.matches("article, main"); e = e.parentElement) {
            if (scrolls(e) && e.getBoundingClientRect().right <= innerWidth + 1) return true;
        }
        return false;
    };
    return [...document.querySelectorAll("article *, footer *")]
        .filter(e => e.checkVisibility() && e.getBoundingClientRect().right > innerWidth + 1)
        .filter(e => e.getBoundingClientRect().width > 1 && !inBox(e) && !scrolls(e))
        .map(e => `${e.tagName} ${e.textContent.slice(0, 40)}`);
"""


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def address():
    if not (SITE / "index.html").exists():
        pytest.skip("build the documentation first: python -m sphinx docs docs/_build")
    handler = functools.partial(Quiet, directory=SITE)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def browser():
    webdriver = pytest.importorskip("selenium.webdriver")
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver")
    with tempfile.TemporaryDirectory() as profile:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for flag in [*FLAGS, f"--user-data-dir={profile}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        service = webdriver.ChromeService(executable_path=DRIVER)
        driver = webdriver.Chrome(options=options, service=service)
        driver.set_page_load_timeout(60)
        yield driver
        driver.quit()


def show(browser, url, width):
    """Open a page in a viewport of this width, which a window cannot always be."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.get(url)


def errors(browser):
    return [entry["message"] for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_readable_and_whole(browser, address, page, width):
    errors(browser)  # of the page before
    show(browser, f"{address}/{page}", width)
    assert errors(browser) == []
    assert browser.execute_script("return window.innerWidth") == width
    assert browser.execute_script(SPILLED) == []
    # Lazy pictures below the fold load when they are asked for.
    broken = browser.execute_async_script(
        """const done = arguments[0];
        const pictures = [...document.images];
        pictures.forEach(picture => { picture.loading = "eager"; });
        Promise.all(pictures.map(p => p.decode().catch(() => {}))).then(() => done(
            pictures.filter(p => !p.naturalWidth).map(p => p.src)));"""
    )
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(browser, address):
    for page in PAGES:
        show(browser, f"{address}/{page}", 1400)
        loaded = browser.execute_script(
            "return performance.getEntriesByType('resource').map(entry => entry.name)"
        )
        assert [url for url in loaded if not url.startswith((address, "data:"))] == []


def test_the_search_box_finds_the_embedder(browser, address):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    show(browser, f"{address}/index.html", 1400)
    wait = WebDriverWait(browser, 30)
    browser.find_element(By.CSS_SELECTOR, "button.search-button__button, .search-button").click()
    box = wait.until(
        lambda b: next(
            (e for e in b.find_elements(By.CSS_SELECTOR, "input[name=q]") if e.is_displayed()), None
        )
    )
    box.send_keys("HUGEmbedder" + Keys.ENTER)
    wait.until(lambda b: "search.html" in b.current_url)
    found = "#search-results li a"
    wait.until(lambda b: b.find_elements(By.CSS_SELECTOR, found))
    links = [a.get_attribute("href") for a in browser.find_elements(By.CSS_SELECTOR, found)]
    assert any("skhug.HUGEmbedder.html" in link for link in links)
    assert errors(browser) == []


def test_the_spheres_turn_and_change_with_the_slider(browser, address):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    show(browser, f"{address}/theory.html", 1400)
    spheres = browser.find_elements(By.CSS_SELECTOR, "div.sphere")
    assert len(spheres) == 2
    for sphere in spheres:
        canvas = sphere.find_element(By.TAG_NAME, "canvas")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
        seen = picture(browser, canvas)
        ActionChains(browser).drag_and_drop_by_offset(canvas, 60, 30).perform()
        turned = picture(browser, canvas)
        assert turned != seen
        text = sphere.text
        browser.execute_script(
            "const s = arguments[0]; s.value = s.max; s.dispatchEvent(new Event('input'))",
            sphere.find_element(By.CSS_SELECTOR, "input[type=range]"),
        )
        assert sphere.text != text
        assert picture(browser, canvas) != turned


def picture(browser, canvas):
    return browser.execute_script("return arguments[0].toDataURL()", canvas)


def test_an_exported_sphere_opens_without_errors(browser, tmp_path):
    pytest.importorskip("plotly")
    from sklearn.datasets import load_iris

    from skhug import HUGClassifier
    from skhug.plotting import SphereDisplay

    X, y = load_iris(return_X_y=True)
    model = HUGClassifier(n_components=3, max_epochs=3, random_state=0).fit(X, y)
    page = SphereDisplay.from_estimator(model, X, y).to_html(tmp_path / "sphere.html")
    errors(browser)
    show(browser, page.as_uri(), 1400)
    assert browser.find_elements("css selector", ".js-plotly-plot")
    assert errors(browser) == []
