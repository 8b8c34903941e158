"""A headless Chromium with several people in it, whom tests tell what to do. See chromium/driver.mjs."""

import json
import os
import subprocess
import urllib.parse
from pathlib import Path

from login import run
from support.paths import ROOT
from support.processes import clean_environment, kill


class Chromium:
    """A browser that runs."""

    def __init__(self):
        modules = Path(os.environ.get("CHROMIUM", ROOT / ".tools/chromium")) / "node_modules"
        assert modules.exists(), "scripts/tools gets Chromium"
        command = ["node", Path(__file__).parent / "chromium/driver.mjs", modules]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(run.TIED + command, env=clean_environment(), text=True, **pipes)
        self._people = 0
        self.version = self._answer()

    def _answer(self):
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError("Chromium has ended")
        answer = json.loads(line)
        # What isn't there to be clicked is a fault of the page, and everything else one of the test.
        assert not answer.get("late"), answer["error"]
        if "error" in answer:
            raise RuntimeError(answer["error"])
        return answer["value"]

    def tell(self, person: int, tab: int, act: str, *given):
        command = {"person": person, "tab": tab, "act": act, "with": given}
        print(json.dumps(command), file=self._process.stdin, flush=True)
        return self._answer()

    def person(self) -> "Tab":
        """Returns the first tab of somebody new, who has no cookies."""
        self._people += 1
        return Tab(self, self._people, 1)

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        finally:
            kill(self._process)
            self._process.stdout.close()


class Tab:
    """One tab of one person. What it does returns the browser's own error, such as `ERR_CONNECTION_REFUSED`, or nothing."""

    def __init__(self, chromium: Chromium, person: int, number: int):
        self._chromium, self._person, self._number = chromium, person, number

    def _tell(self, act: str, *given):
        return self._chromium.tell(self._person, self._number, act, *given)

    def another(self) -> "Tab":
        """Another tab of the same person."""
        return Tab(self._chromium, self._person, self._number + 1)

    def go(self, url: str) -> str:
        return self._tell("go", url)

    def back(self) -> str:
        return self._tell("back")

    def reload(self) -> str:
        return self._tell("reload")

    def click(self, name: str, inside: str = "body") -> str:
        """Clicks a button or a link, and waits for the page that follows."""
        return self._tell("click", name, inside)

    def press(self, name: str) -> None:
        """Clicks a button, and doesn't wait for the page that follows."""
        self._tell("press", name)

    def arrived(self, url: str) -> None:
        """Waits until it is at a URL."""
        self._tell("arrived", url)

    def sign_in(self, name: str) -> None:
        """Fills a provider's form, and comes to its question for consent."""
        self._tell("fill", "Enter any login", name)
        self._tell("fill", "and password", "x")
        self.click("Sign-in")

    def leave(self) -> None:
        """Closes all tabs of the person, who is forgotten."""
        self._tell("leave")

    @property
    def text(self) -> str:
        """What a person reads on the page."""
        return self._tell("text")

    @property
    def url(self) -> str:
        return self._tell("url")

    @property
    def addresses(self) -> list[str]:
        """What stood in the address bar, so far."""
        return self._tell("addresses")

    @property
    def requests(self) -> list[str]:
        """The URLs that it asked for, so far, also those that it was redirected from."""
        return self._tell("requests")

    def evaluate(self, script: str):
        """Runs a script of the page."""
        return self._tell("evaluate", script)

    @property
    def cookies(self) -> dict[str, dict]:
        """All cookies of the person, by their names."""
        return {cookie["name"]: cookie for cookie in self._tell("cookies")}

    def add_cookie(self, **cookie) -> None:
        self._tell("add", cookie)

    def clear_cookies(self) -> None:
        self._tell("clear")

    @property
    def state(self) -> str:
        """The state of the login that is under way."""
        (state,) = [cookie["value"] for name, cookie in self.cookies.items() if name.startswith("login_")]
        return state

    @property
    def seen(self) -> set[str]:
        """What no log may hold."""
        queries = [urllib.parse.parse_qs(urllib.parse.urlsplit(url).query) for url in self.requests]
        return {query[name][0] for query in queries for name in ("code", "state") if name in query} | {
            cookie["value"] for name, cookie in self.cookies.items() if name == "session" or name.startswith("login_")
        }
