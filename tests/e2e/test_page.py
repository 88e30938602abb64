"""A person at the local world's page, in headless Chromium: every page between a first word and an answer."""

import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.ui import WebDriverWait

MANIFEST = Path(__file__).parents[2] / "Cargo.toml"
WORLD = ["cargo", "run", "--locked", "--quiet", "--manifest-path", str(MANIFEST), "--package", "nbhd-local"]
PHONE = (390, 844)

# Nothing that reaches for the network, and nothing that needs a display.
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE = 60


def chromium(profile: str) -> WebDriver:
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in [*FLAGS, f"--user-data-dir={profile}", f"--window-size={PHONE[0]},{PHONE[1]}"]:
        options.add_argument(flag)
    return webdriver.Chrome(options, webdriver.ChromeService(shutil.which("chromedriver")))


class Page(unittest.TestCase):
    def setUp(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        self.world = subprocess.Popen([*WORLD, "--", "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True)
        self.addCleanup(self.world.stdout.close)
        self.addCleanup(self.world.wait)
        self.addCleanup(self.world.terminate)
        # The story is played first; what it prints is shown should it fail.
        said = []
        for line in self.world.stdout:
            said.append(line)
            if opened := re.match(r"Open (http://127\.0\.0\.1:\d+)", line):
                break
        else:
            self.fail("the local world ended: " + "".join(said[-20:]))
        self.browser = chromium(f"{folder}/profile")
        self.addCleanup(self.browser.quit)
        self.browser.get(opened[1])
        self.chat = self.browser.current_window_handle

    def wait(self, until, why) -> None:
        """Until it is so; `why` tells, at the end, what is instead."""
        try:
            WebDriverWait(self.browser, PATIENCE).until(lambda _: until())
        except TimeoutException:
            self.fail(why())

    def lines(self) -> list[str]:
        return self.browser.execute_script("return [...document.querySelectorAll('#chat li')].map(i => i.innerText)")

    def says(self, text: str) -> str:
        """Writes to the bot; the first line that comes after it."""
        before = len(self.lines())
        self.browser.find_element(By.CSS_SELECTOR, "#write input").send_keys(text)
        self.click("Send")
        return self.hears(before + 2)

    def hears(self, number: int) -> str:
        self.wait(lambda: len(self.lines()) >= number, lambda: f"no line {number}: {self.lines()[-3:]}")
        return self.lines()[number - 1]

    def opens_last_button(self) -> None:
        """Follows the bot's last button into a tab of its own, as Telegram would."""
        link = self.browser.find_elements(By.CSS_SELECTOR, "#chat a.button")[-1].get_attribute("href")
        self.browser.switch_to.new_window("tab")
        self.browser.get(link)

    def click(self, label: str) -> None:
        buttons = self.browser.find_elements(By.TAG_NAME, "button")
        found = [button for button in buttons if button.text.startswith(label)]
        self.assertEqual(len(found), 1, [button.text for button in buttons])
        found[0].click()

    def reads(self, title: str) -> str:
        """A page with this in its title; it fits a phone."""
        self.wait(lambda: title in self.browser.title, lambda: f"“{self.browser.title}” instead of “{title}”")
        overhang = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        self.assertEqual(self.browser.execute_script(overhang), 0, f"“{title}” is wider than a phone")
        return self.browser.find_element(By.TAG_NAME, "body").text

    def back_to_the_chat(self) -> None:
        self.browser.close()
        self.browser.switch_to.window(self.chat)

    def confirms(self) -> None:
        """Opens the bot by the page's button and presses Start there; the page goes on by itself."""
        page = self.browser.current_window_handle
        self.assertIn("Nothing is connected yet", self.reads("Confirm it in Telegram"))
        tabs = set(self.browser.window_handles)
        self.browser.find_element(By.CSS_SELECTOR, "a.button").click()
        opened = lambda: set(self.browser.window_handles) - tabs
        self.wait(opened, lambda: "the button opened no tab")
        self.browser.switch_to.window(opened().pop())
        self.reads("Telegram")
        self.browser.close()
        self.browser.switch_to.window(page)

    def test_from_a_first_word_to_an_answer_and_back_out(self) -> None:
        self.reads("NBHD United, on this machine")
        self.says("hello")
        self.opens_last_button()
        self.assertIn("Ann", self.reads("Your own assistant"))
        self.click("Basic")
        self.reads("Stripe (simulated)")
        self.browser.find_element(By.NAME, "terms").click()
        self.click("Pay and subscribe")
        self.reads("Thank you")
        self.back_to_the_chat()
        self.wait(lambda: any("ready" in line for line in self.lines()[-3:]), lambda: f"not ready: {self.lines()[-3:]}")

        for decision, title in [("Cancel", "Nothing was connected"), ("Continue", "Connected")]:
            self.says("/connect")
            self.opens_last_button()
            self.assertIn("Ann", self.reads("Is this your assistant?"))
            self.click("Yes, continue to Google")
            self.reads("Google (simulated)")
            self.click(decision)
            if decision == "Continue":
                self.confirms()
            ended = self.reads(title)
            self.assertIn("access_denied" if decision == "Cancel" else "ann@example.com", ended)
            if decision == "Cancel":
                self.back_to_the_chat()
        result = self.browser.current_window_handle
        self.browser.switch_to.window(self.chat)
        self.says("what's in my inbox and what does my day look like?")
        answered = lambda: "Garden committee" in "".join(self.lines()[-2:])
        self.wait(answered, lambda: f"no answer out of the calendar: {self.lines()[-2:]}")

        self.browser.switch_to.window(result)
        self.click("Undo")
        self.reads("Taken back")
        self.back_to_the_chat()
        self.assertIn("Gmail: not connected", self.says("/status"))
        # What she caused is marked, and what the story's months repeated is one line.
        caused = self.browser.find_elements(By.CSS_SELECTOR, "#trace li.person b")
        self.assertIn("telegram-webhook", {name.get_attribute("textContent") for name in caused})
        lines = self.browser.find_elements(By.CSS_SELECTOR, "#trace li:not(.person)")
        self.assertTrue(any("×" in line.get_attribute("textContent") for line in lines))
        # Of scripts and policies; that a page refuses with 403, or has no icon, is no mistake.
        log = self.browser.get_log("browser")
        self.assertEqual([entry for entry in log if entry["level"] == "SEVERE" and entry["source"] != "network"], [])
