"""Logs a user in at the example auth server in a headless Chromium."""

import os
import subprocess
from pathlib import Path

from support.paths import ROOT
from support.processes import clean_environment
from test_auth_server import build, shared  # noqa: F401


def test_a_user_in_a_real_browser_logs_in_and_out(shared):  # noqa: F811
    modules = Path(os.environ.get("CHROMIUM", ROOT / ".tools/chromium")) / "node_modules"
    assert modules.exists(), "scripts/tools gets Chromium"
    script = Path(__file__).parent / "chromium/login.mjs"
    command = ["node", script, modules, shared.url]
    done = subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    user = shared.user("one", "alice")
    row = "{}: has a token Call the backend"
    assert done.stdout.splitlines() == [
        "An auth server Log in",
        "alice signs in",
        "alice-2 signs in",
        f"An auth server You are {user}. {row.format('one')} {row.format('two')} Log out",
        "The backend of one knows you as alice.",
        "The backend of two knows you as alice-2.",
        "scripts see the session: false",
        "session cookie: httpOnly true, sameSite Lax",
        "An auth server Log in",
    ]
    assert shared.rows(user) == {}
