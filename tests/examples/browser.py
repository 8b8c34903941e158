"""A browser as far as a login needs one: cookies, redirects and forms, and it can stop before a redirect."""

import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.cookiejar import CookieJar


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments):
        return None


@dataclass
class Form:
    """A form, with what its fields hold."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)


class _Forms(HTMLParser):
    def __init__(self):
        super().__init__()
        self.forms: list[Form] = []
        self.links: list[str] = []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "form":
            self.forms.append(Form(attributes["action"]))
        elif tag == "input" and self.forms and "name" in attributes:
            self.forms[-1].fields[attributes["name"]] = attributes.get("value") or ""
        elif tag == "a":
            self.links.append(attributes.get("href") or "")


@dataclass
class Page:
    """An answer: a page, or a redirect that isn't followed yet."""

    url: str
    status: int
    text: str
    location: str | None

    @property
    def message(self) -> str:
        """What the auth server says, or nothing."""
        found = re.search(r'<p id="message">(.*?)</p>', self.text)
        return found[1] if found else ""


class Browser:
    """One browser of one user. It keeps cookies for a host, whatever the port is, as browsers do."""

    def __init__(self):
        self.cookies = CookieJar()
        # What it saw in redirects and cookies: no log may hold any of that.
        self.seen: set[str] = set()
        handlers = [_NoRedirect(), urllib.request.HTTPCookieProcessor(self.cookies), urllib.request.ProxyHandler({})]
        self._opener = urllib.request.build_opener(*handlers)

    def request(self, url: str, form: dict | None = None, headers: dict | None = None) -> Page:
        """Gets a page, or posts a form, and follows no redirect."""
        data = urllib.parse.urlencode(form).encode() if form is not None else None
        try:
            answer = self._opener.open(urllib.request.Request(url, data, headers or {}), timeout=20)
        except urllib.error.HTTPError as error:
            answer = error
        with answer:
            location = answer.headers.get("Location")
            page = Page(url, answer.status, answer.read().decode(), location and urllib.parse.urljoin(url, location))
        self.seen |= {cookie.value for cookie in self.cookies if len(cookie.value) > 16}
        return page

    def follow(self, page: Page, before: str | None = None) -> Page:
        """Follows redirects to a page, or until the next one goes to a URL that begins with `before`."""
        for _ in range(20):
            if page.location is None or (before and page.location.startswith(before)):
                break
            page = self.request(page.location)
        if page.location:
            query = urllib.parse.parse_qs(urllib.parse.urlsplit(page.location).query)
            self.seen |= {query[name][0] for name in ("code", "state") if name in query}
        return page

    def visit(self, url: str) -> Page:
        """Gets a page, wherever it is redirected to."""
        return self.follow(self.request(url))

    def submit(self, page: Page, action: str = "", before: str | None = None, **fields) -> Page:
        """Fills and sends the first form whose action ends so."""
        parsed = _Forms()
        parsed.feed(page.text)
        form = next((one for one in parsed.forms if one.action.endswith(action)), None)
        assert form, f"{page.url} ({page.status}) has no form {action}: {page.text}"
        url = urllib.parse.urljoin(page.url, form.action)
        return self.follow(self.request(url, form.fields | fields), before)

    def click(self, page: Page, ending: str, before: str | None = None) -> Page:
        """Follows the first link that ends so."""
        parsed = _Forms()
        parsed.feed(page.text)
        link = next(link for link in parsed.links if link.endswith(ending))
        return self.follow(self.request(urllib.parse.urljoin(page.url, link)), before)

    def cookie(self, name: str) -> str:
        """Returns the value of a cookie."""
        return next(cookie.value for cookie in self.cookies if cookie.name == name)
