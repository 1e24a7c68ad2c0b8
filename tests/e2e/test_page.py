"""The page in a real Chromium, served by the real command with the bundled demo model.

Whatever a test does, it fails when the page breaks its Content-Security-Policy, throws, or opens a dialog.
"""

import io
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Dialog,
    FilePayload,
    Locator,
    Page,
    Request,
    expect,
    sync_playwright,
)

from tests.e2e.browsing import ARGUMENTS, CHROMIUM, in_chromium

START_S = 120  # TensorFlow alone takes ten seconds to import on a small machine
ANSWER_MS = 20_000

pytestmark = in_chromium


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory, prepared: Path) -> Iterator[str]:
    """A running service's address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("glimt")
    (folder / "cache").symlink_to(prepared)
    command = [sys.executable, "-c", "from service.cli import app; app()", "serve", "--model", "demo"]
    environment = os.environ | {"GLIMT_PORT": str(port), "GLIMT_DATA_DIR": str(folder), "GLIMT_HOST": "127.0.0.1"}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    try:
        wait_until_ready(process, f"http://127.0.0.1:{port}", folder / "output")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def wait_until_ready(process: "subprocess.Popen[bytes]", address: str, output: Path) -> None:
    """Return when /readyz says so; fail with the service's own words when it ends or takes too long."""
    until = time.monotonic() + START_S
    while time.monotonic() < until and process.poll() is None:
        try:
            if httpx2.get(f"{address}/readyz").status_code == 200:
                return
        except httpx2.TransportError:
            pass
        time.sleep(0.2)  # between two questions, not a guess
    pytest.fail(f"the service did not become ready:\n{output.read_text()}")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture
def context(browser: Browser, address: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=address, viewport={"width": 1280, "height": 860}, reduced_motion="reduce")
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Iterator[Page]:
    """The page, open. What goes wrong in it unseen is collected and fails the test at its end."""
    page = context.new_page()
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if "Security Policy" in message.text else None)
    page.on("pageerror", lambda error: faults.append(str(error)))

    def on_dialog(dialog: Dialog) -> None:
        faults.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    page.on("dialog", on_dialog)
    page.expose_function("reportViolation", lambda directive: faults.append(f"policy: {directive}"))
    page.add_init_script("""
        document.addEventListener("securitypolicyviolation", (event) => reportViolation(event.violatedDirective))
    """)
    page.goto("/")
    yield page
    assert faults == []


def picture(name: str, shade: int = 0) -> FilePayload:
    """A picture no other picture equals."""
    buffer = io.BytesIO()
    Image.new("RGB", (40, 30), (shade * 20, 90, 200)).save(buffer, "PNG")
    return {"name": name, "mimeType": "image/png", "buffer": buffer.getvalue()}


def choose(page: Page, *pictures: FilePayload) -> None:
    """Give the pictures to the file input, as the browser's dialog does."""
    page.locator("#file").set_input_files(list(pictures))


def answered(page: Page, count: int) -> Locator:
    """The answered cards, once there are `count` of them and no others."""
    cards = page.locator('.card[data-state="answered"]')
    expect(cards).to_have_count(count, timeout=ANSWER_MS)
    expect(page.locator(".card")).to_have_count(count)
    return cards


def test_nine_pictures_one_corrected(page: Page, address: str) -> None:
    """Nine pictures make nine cards, newest first; one label is corrected by keyboard and survives a reload."""
    choose(page, *(picture(f"nine-{n}.png", n) for n in range(9)))
    cards = answered(page, 9)
    expect(cards.first.locator(".file-name")).to_have_text("nine-0.png")
    expect(cards.first.locator(".reading")).to_have_count(5)
    expect(cards.first.locator(".receipt")).to_have_text(re.compile(r"decoded .* batch of \d+ in <?\d+ ms"))
    expect(page.locator("#announcer")).to_contain_text("nine-8.png: ")

    card = page.locator(".card", has_text="nine-4.png")
    card.locator("summary", has_text="Wrong").click()
    box = card.get_by_role("combobox")
    expect(box).to_be_focused()
    box.press_sequentially("7")
    expect(card.get_by_role("option")).to_have_count(1)
    box.press("ArrowDown")
    expect(card.get_by_role("option")).to_have_attribute("aria-selected", "true")
    box.press("Enter")
    expect(box).to_have_attribute("aria-expanded", "false")
    card.get_by_label("Anything to add?").fill("a test")
    card.get_by_role("button", name="Send").click()
    expect(card.locator(".thanks")).to_contain_text("Noted: digit 7")

    page.reload()
    expect(page.locator(".card")).to_have_count(0)
    (row,) = (row for row in httpx2.get(f"{address}/feedback/").json() if row["image_file_name"] == "nine-4.png")
    assert (row["verdict"], row["correct_label"], row["comment"]) == ("wrong", "digit_7", "a test")
    assert row["image_kept"] is True


def test_undo(page: Page, address: str) -> None:
    """`Right`, then `Undo`: the buttons are back and the row is gone."""
    choose(page, picture("taken-back.png", 3))
    card = answered(page, 1).first
    card.get_by_role("button", name="Right").click()
    card.get_by_role("button", name="Undo", exact=True).click()
    expect(card.get_by_role("button", name="Right")).to_be_visible()
    assert all(row["image_file_name"] != "taken-back.png" for row in httpx2.get(f"{address}/feedback/").json())


def test_ten_are_one_too_many(page: Page) -> None:
    """Of ten pictures nine are taken, and the page says so."""
    choose(page, *(picture(f"ten-{n}.png", n) for n in range(10)))
    expect(page.locator("#tray-message")).to_have_text("That was 10 pictures. I took the first 9.")
    answered(page, 9)


def test_a_zip_is_shown_the_way_to_bulk(page: Page) -> None:
    """Whatever its size: it is not sent, and the picture beside it is."""
    choose(page, {"name": "pets.zip", "mimeType": "application/zip", "buffer": b"PK"}, picture("beside.png"))
    expect(page.locator("#tray-message")).to_have_text("pets.zip is a zip archive: bring it to Bulk.")
    expect(page.locator("#tray-message a")).to_have_attribute("href", "/jobs")
    answered(page, 1)


def test_without_javascript(browser: Browser, address: str) -> None:
    """With JavaScript off the form classifies a picture and takes feedback on it."""
    context = browser.new_context(base_url=address, java_script_enabled=False)
    page = context.new_page()
    page.goto("/")
    choose(page, picture("plain.png"))
    page.get_by_role("button", name="Classify").click()
    card = page.locator(".card", has_text="plain.png")
    expect(card.locator(".reading")).to_have_count(5)
    assert card.locator("img").get_attribute("src", timeout=ANSWER_MS)
    card.get_by_role("button", name="Right").click()
    expect(page.locator(".thanks")).to_contain_text("Noted as right")
    context.close()


def test_paste_anywhere(page: Page, context: BrowserContext) -> None:
    """Ctrl+V with a picture in the clipboard makes a card."""
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.evaluate("""async () => {
        const picture = await (await fetch("/static/examples/digit-3.png")).blob()
        await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })])
    }""")
    page.keyboard.press("Control+V")
    answered(page, 1)


def test_drop_anywhere(page: Page) -> None:
    """Pictures over the page light it up; dropped, each makes a card."""
    page.evaluate("""async () => {
        const files = new DataTransfer()
        const picture = await (await fetch("/static/examples/digit-7.png")).blob()
        for (const name of ["a.png", "b.png"]) files.items.add(new File([picture], name, { type: "image/png" }))
        window.dispatchEvent(new DragEvent("dragover", { dataTransfer: files, cancelable: true }))
        window.dropped = () => window.dispatchEvent(new DragEvent("drop", { dataTransfer: files, cancelable: true }))
    }""")
    expect(page.locator(".drop-veil")).to_be_visible()
    page.evaluate("() => window.dropped()")
    expect(page.locator(".drop-veil")).to_be_hidden()
    answered(page, 2)


@pytest.mark.parametrize("digit", ["3", "7", "8"])
def test_example(page: Page, digit: str) -> None:
    """A click on an example classifies it, and the demo model reads our handwriting."""
    page.get_by_role("button", name=f"a handwritten {digit}").click()
    card = answered(page, 1).first
    expect(card.locator(".reading-label").first).to_have_text(f"digit {digit}")


def test_what_is_no_picture_says_so(page: Page) -> None:
    """An HTML file named .jpg shows its reason in its card, without a retry that cannot help."""
    choose(page, {"name": "cat.jpg", "mimeType": "image/jpeg", "buffer": b"<!doctype html><script>alert(1)</script>"})
    card = page.locator('.card[data-state="failed"]')
    expect(card.locator(".problem-title")).to_have_text("This is not a picture of a supported type")
    expect(card.get_by_role("button", name="Try again")).to_have_count(0)


def test_file_name_is_only_text(page: Page) -> None:
    """A file name with markup in it is shown as it is, in the card and in the feedback."""
    name = "<img src=x onerror=alert(1)>.png"
    choose(page, picture(name))
    card = answered(page, 1).first
    expect(card.locator(".file-name")).to_have_text(name)
    card.get_by_role("button", name="Right").click()
    expect(card.locator(".thanks")).to_be_visible()
    assert page.locator("img[src=x]").count() == 0


def test_unreachable_then_again(page: Page) -> None:
    """A picture that met no service says so, keeps its preview, and succeeds at `Try again`."""
    page.route("**/", lambda route: route.abort())
    choose(page, picture("later.png", 5))
    card = page.locator('.card[data-state="failed"]')
    expect(card.locator(".problem-title")).to_have_text("I could not reach the service")
    page.unroute("**/")
    card.get_by_role("button", name="Try again").click()
    expect(answered(page, 1).first.locator(".preview img")).to_be_visible()


def test_clear_all(page: Page) -> None:
    """`Clear all` removes the cards, also those under way, and brings the empty table back."""
    page.route("**/", lambda route: None)  # never answered
    choose(page, *(picture(f"clear-{n}.png", n) for n in range(6)))
    expect(page.locator('.card[data-state="waiting"]')).to_have_count(6)
    page.get_by_role("button", name="Clear all").click()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator(".empty")).to_be_visible()
    page.unroute("**/")
    choose(page, picture("after.png"))
    answered(page, 1)


def test_banner_and_health_light(page: Page) -> None:
    """The light is green; the demo model says that it is one."""
    expect(page.locator(".light")).to_have_attribute("data-state", "ready")
    expect(page.locator(".notice code")).not_to_have_count(0)


def test_health_light_when_nobody_answers(page: Page) -> None:
    """A light whose question is not answered says so, and recovers with the service."""
    page.route("**/health-light", lambda route: route.abort())
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".health-words")).to_have_text("Not reachable")
    page.unroute("**/health-light")
    page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator(".health-words")).to_have_text("Ready")


def test_health_light_sleeps_with_the_tab(page: Page) -> None:
    """A hidden tab asks nothing; the one that asks when it is shown again is the first."""
    asked: list[bool] = []
    hidden = True

    def on_request(request: Request) -> None:
        if "health-light" in request.url:
            asked.append(hidden)

    page.on("request", on_request)
    page.evaluate("""() => {
        Object.defineProperty(document, "hidden", { value: true, configurable: true })
        htmx.trigger("#health", "refresh")
        Object.defineProperty(document, "hidden", { value: false, configurable: true })
    }""")
    hidden = False
    with page.expect_request("**/health-light"):
        page.evaluate("() => document.dispatchEvent(new Event('visibilitychange'))")
    assert asked == [False]


@pytest.mark.parametrize("width", [360, 768, 1440])
def test_no_sideways_scrolling(page: Page, width: int) -> None:
    """From phone to desktop nothing is wider than the window, with a card and its correction open."""
    page.set_viewport_size({"width": width, "height": 800})
    choose(page, picture("a" * 120 + ".png"))
    card = answered(page, 1).first
    card.locator("summary", has_text="Wrong").click()
    card.locator("summary", has_text="Raw answer").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
