#!/usr/bin/env python3
"""The explorer in a real headless Chromium, over a testnet under load: with the keyboard, on a phone, light and dark, with
axe, and with hostile text in the ledger.

Run by `make explorer-test`. Screenshots stay in the target directory, under artefacts/explorer.
"""

import importlib.util
import os
import pathlib
import re
import shutil
import sys

from playwright.sync_api import expect, sync_playwright

from cluster import artefacts, cluster, get_json

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
EVIL = "<img src=x onerror=alert(1)>"
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]


def browser_path():
    for name in (os.environ.get("CHROMIUM"), *BROWSERS):
        if name and (path := shutil.which(name)):
            return path
    sys.exit("explorer: there is no Chromium (Debian: chromium-headless-shell), which this check needs")


def axe_source():
    package = importlib.util.find_spec("axe_playwright_python")
    [file] = pathlib.Path(package.submodule_search_locations[0]).glob("axe*.js")
    return file.read_text()


class Watched:
    """A page that notes whatever it should not do."""

    def __init__(self, browser, net, **context):
        self.context = browser.new_context(base_url=net.api(), **context)
        self.page = self.context.new_page()
        self.faults = []
        self.page.on("pageerror", lambda error: self.faults.append(f"error: {error}"))
        self.page.on("console", lambda message: self.faults.append(f"console: {message.text}") if message.type == "error" else None)
        self.page.on("dialog", lambda dialog: (self.faults.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        self.page.on("request", lambda request: None if request.url.startswith((net.api(), "data:")) else self.faults.append(f"external: {request.url}"))

    def close(self, what):
        self.context.close()
        if self.faults:
            sys.exit(f"explorer: {what}: " + "\n  ".join(self.faults))


def fits(page, what):
    """Nothing is wider than the screen; what is wide scrolls by itself."""
    width, inner = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    assert width <= inner, f"{what}: {width} pixels on a screen of {inner}"


def accessible(page, source, what):
    page.evaluate(source)
    result = page.evaluate("tags => axe.run(document, { runOnly: { type: 'tag', values: tags } })", WCAG)
    found = [f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:160]}" for one in result["violations"]]
    assert not found, f"{what}: axe: " + "\n  ".join(found)
    assert len(result["passes"]) > 10, "axe looked at something"
    return len(result["passes"])


def overview(browser, net, shots):
    watched = Watched(browser, net, viewport={"width": 1280, "height": 1000}, color_scheme="light")
    page = watched.page
    answer = page.goto("/explorer")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy, policy
    expect(page.get_by_role("heading", level=1)).not_to_be_empty()
    table = page.get_by_role("table", name=re.compile("^Validators"))
    expect(table.locator("tbody tr")).to_have_count(4)
    expect(table.get_by_text("yes", exact=True)).to_have_count(4)
    # The plots draw what happens: transactions are executed, and each commit takes some time.
    rate = page.get_by_role("img", name=re.compile(r"Transactions per second: now [1-9]\d* .s"))
    expect(rate).to_be_visible(timeout=30_000)
    expect(page.get_by_role("img", name=re.compile(r"Commit latency.*: now \d+\.\d ms"))).to_be_visible(timeout=30_000)
    height = page.locator(".figures dd").first
    before = height.inner_text()
    expect(height).not_to_have_text(before, timeout=15_000)
    page.wait_for_timeout(12_000)  # not a synchronisation: the picture is to show a curve
    page.screenshot(path=shots / "overview-light.png")
    fits(page, "overview")
    watched.close("overview")


def by_keyboard(browser, net, shots):
    watched = Watched(browser, net, viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = watched.page
    page.goto("/")
    expect(page).to_have_url(re.compile("/explorer$"))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Overview")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Blocks", level=1)).to_be_visible()
    expect(page.get_by_role("link", name="Blocks", exact=True)).to_have_attribute("aria-current", "page")
    # A block with transactions, found by its height.
    blocks = get_json(net.api() + "/v1/blocks?limit=100")["blocks"]
    wanted = next(block for block in blocks if block["transactions"] > 0)
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.keyboard.type(str(wanted["height"]))
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("^Block "))).to_be_visible()
    expect(page.locator("main")).to_be_focused()
    expect(page.get_by_text(wanted["id"])).to_be_visible()
    page.screenshot(path=shots / "block.png")
    transaction = page.get_by_role("table", name="Transactions").get_by_role("link").first
    transaction.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Transaction", level=1)).to_be_visible()
    expect(page.get_by_text("executed").first).to_be_visible()
    page.screenshot(path=shots / "transaction.png")
    page.go_back()
    expect(page.get_by_role("heading", name=re.compile("^Block "))).to_be_visible()
    # The overview is drawn anew each second: what has the focus keeps it.
    page.goto("/explorer")
    link = page.get_by_role("table", name="Newest blocks").get_by_role("link").first
    link.focus()
    before = page.locator(".figures dd").first.inner_text()
    expect(page.locator(".figures dd").first).not_to_have_text(before, timeout=15_000)
    assert page.evaluate("document.querySelector('main').contains(document.activeElement)"), "the focus is lost"
    watched.close("by keyboard")


def keys(browser, net, shots):
    watched = Watched(browser, net, viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = watched.page
    page.goto("/explorer#/keys/gre")
    table = page.get_by_role("table", name=re.compile("^At height"))
    expect(table.get_by_role("link", name="greeting")).to_be_visible()
    expect(table.get_by_text("hello")).to_be_visible()
    table.get_by_role("link", name="greeting").click()
    expect(page.get_by_role("heading", name="Key greeting")).to_be_visible()
    # What a client wrote is text, whatever it says.
    page.goto("/explorer#/keys/%3C")
    expect(page.get_by_role("link", name=EVIL)).to_be_visible()
    page.screenshot(path=shots / "keys.png")
    page.get_by_role("link", name=EVIL).click()
    expect(page.get_by_role("heading", name=f"Key {EVIL}")).to_be_visible()
    assert page.locator("main img").count() == 0
    page.goto("/explorer#/tx/" + "0" * 64)
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()
    # The browser itself notes a 404 in the console.
    watched.faults = [fault for fault in watched.faults if "404" not in fault]
    watched.close("keys")


def dark_and_phone(browser, net, shots):
    dark = Watched(browser, net, viewport={"width": 1280, "height": 1000}, color_scheme="dark")
    page = dark.page
    page.goto("/explorer")
    expect(page.get_by_role("table", name=re.compile("^Validators"))).to_be_visible()
    ground = lambda: page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground() == "rgb(16, 21, 28)", ground()
    page.screenshot(path=shots / "overview-dark.png")
    button = page.get_by_role("button", name="Dark")
    expect(button).to_have_attribute("aria-pressed", "true")
    button.click()
    assert ground() == "rgb(247, 248, 250)", ground()
    page.reload()
    expect(page.get_by_role("button", name="Dark")).to_have_attribute("aria-pressed", "false")
    dark.close("dark")

    phone = Watched(browser, net, viewport={"width": 390, "height": 844}, device_scale_factor=2, is_mobile=True, has_touch=True, color_scheme="light")
    page = phone.page
    height = get_json(net.api() + "/v1/status")["height"]
    for path, name in (("", "overview"), ("#/blocks", "blocks"), (f"#/block/{height}", "block"), ("#/keys/", "keys")):
        page.goto("/explorer" + path)
        page.reload()
        expect(page.get_by_role("heading", level=1)).not_to_be_empty()
        expect(page.get_by_role("table").first).to_be_visible()
        fits(page, f"phone, {name}")
        if name == "overview":
            page.wait_for_timeout(12_000)  # as above: a curve
        page.screenshot(path=shots / f"phone-{name}.png")
    phone.close("phone")


def with_axe(browser, net):
    passes = 0
    source = axe_source()
    height = get_json(net.api() + "/v1/status")["height"]
    for scheme in ("light", "dark"):
        watched = Watched(browser, net, viewport={"width": 1280, "height": 900}, color_scheme=scheme, bypass_csp=True)
        for path in ("", "#/blocks", f"#/block/{height}", "#/keys/gre", "#/key/greeting"):
            watched.page.goto("/explorer" + path)
            watched.page.reload()
            expect(watched.page.get_by_role("heading", level=1)).not_to_be_empty()
            passes += accessible(watched.page, source, f"{scheme} {path}")
        watched.close("axe")
    return passes


def when_validators_go(browser, net, shots):
    watched = Watched(browser, net, viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = watched.page
    page.goto("/explorer")
    table = page.get_by_role("table", name=re.compile("^Validators"))
    expect(table.get_by_text("yes", exact=True)).to_have_count(4)
    net.kill(3)
    expect(table.get_by_text("no", exact=True)).to_have_count(1, timeout=20_000)
    page.screenshot(path=shots / "one-gone.png")
    net.kill(0)
    expect(page.get_by_role("alert")).to_have_text("The validator does not answer.", timeout=20_000)
    watched.context.close()


def main():
    shots = artefacts("explorer")
    with cluster() as net, sync_playwright() as playwright:
        net.client("kv", "put", "greeting", "hello")
        net.client("kv", "put", EVIL, EVIL)
        load = net.load(rate=150, seconds=75)
        browser = playwright.chromium.launch(executable_path=browser_path(), args=["--no-sandbox"] if os.geteuid() == 0 else [])
        try:
            overview(browser, net, shots)
            by_keyboard(browser, net, shots)
            keys(browser, net, shots)
            dark_and_phone(browser, net, shots)
            passes = with_axe(browser, net)
            when_validators_go(browser, net, shots)
        finally:
            browser.close()
            load.kill()
            load.wait()
    print(f"explorer: pages, keyboard, phone, light and dark; axe: {passes} checks passed and none failed; screenshots in {shots}")


if __name__ == "__main__":
    main()
