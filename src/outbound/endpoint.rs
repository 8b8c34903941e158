//! Addresses of other services.

use std::{fmt, net::IpAddr, str::FromStr};

use http::{Uri, uri::Scheme};

/// An address that the broker may send secrets to: `https`, or `http` on this machine.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint {
    uri: Uri,
    text: String,
}

impl Endpoint {
    /// Returns the address as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the address is reached over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.uri.scheme() == Some(&Scheme::HTTPS)
    }

    /// Returns the host's name or address, without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        let host = self.uri.host().unwrap_or_default();
        host.trim_start_matches('[').trim_end_matches(']')
    }

    /// Returns the port.
    #[must_use]
    pub fn port(&self) -> u16 {
        let usual = if self.is_tls() { 443 } else { 80 };
        self.uri.port_u16().unwrap_or(usual)
    }

    /// Returns the value of the `Host` header.
    pub(crate) fn authority(&self) -> &str {
        self.uri
            .authority()
            .map_or("", |authority| authority.as_str())
    }

    /// Returns what stands in the first line of a request.
    pub(crate) fn target(&self) -> &str {
        self.uri
            .path_and_query()
            .map_or("/", |target| target.as_str())
    }

    /// Returns the path, without a slash at its end.
    pub(crate) fn path(&self) -> &str {
        self.uri.path().trim_end_matches('/')
    }

    /// Returns the scheme and the authority.
    pub(crate) fn origin(&self) -> String {
        let scheme = self.uri.scheme_str().unwrap_or_default();
        format!("{scheme}://{}", self.authority())
    }
}

/// A proxy for connections to another service. It sees no secret: TLS goes through it, from end to end.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Endpoint);

impl Proxy {
    /// Returns its address.
    #[must_use]
    pub fn address(&self) -> &Endpoint {
        &self.0
    }
}

impl FromStr for Proxy {
    type Err = &'static str;

    /// Parses the URL of a proxy that is spoken to without TLS. The error doesn't quote it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be a URL that begins with http://";
        let proxy = Endpoint::parse(text, wrong)?;
        if proxy.uri.scheme() != Some(&Scheme::HTTP) {
            return Err(wrong);
        }
        if proxy.target() != "/" {
            return Err("must be a URL without a path");
        }
        Ok(Self(proxy))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Endpoint {
    /// Parses an absolute URL of any scheme. The error says `wrong`, or what is wrong.
    fn parse(text: &str, wrong: &'static str) -> Result<Self, &'static str> {
        if text.contains('#') {
            return Err("must be a URL without a fragment");
        }
        let uri: Uri = text.parse().map_err(|_| wrong)?;
        let endpoint = Self {
            uri,
            text: text.to_owned(),
        };
        if endpoint.host().is_empty() {
            return Err(wrong);
        }
        if endpoint.authority().contains('@') {
            return Err("must be a URL without a user or password");
        }
        Ok(endpoint)
    }
}

impl FromStr for Endpoint {
    type Err = &'static str;

    /// Parses an absolute URL. The error doesn't quote it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "must be a URL that begins with https://";
        let endpoint = Self::parse(text, wrong)?;
        match endpoint.uri.scheme_str() {
            Some("https") => Ok(endpoint),
            Some("http") if is_loopback(endpoint.host()) => Ok(endpoint),
            Some("http") => Err("must begin with https://; http:// is for this machine only"),
            _ => Err(wrong),
        }
    }
}

fn is_loopback(host: &str) -> bool {
    let address = host.parse::<IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_that_may_get_secrets_are_accepted() {
        for (text, is_right) in [
            ("https://idp.example/token", true),
            ("https://idp.example", true),
            ("http://127.0.0.1:8080/token", true),
            ("http://[::1]:8080/token", true),
            ("http://localhost/token?a=b", true),
            ("http://idp.example/token", false),
            ("http://127.0.0.1.example/token", false),
            ("https://user:password@idp.example/token", false),
            ("https://idp.example/token#top", false),
            ("ftp://idp.example/token", false),
            ("idp.example", false),
            ("/token", false),
            ("", false),
        ] {
            assert_eq!(text.parse::<Endpoint>().is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn a_proxy_is_spoken_to_without_tls() {
        for (text, is_right) in [
            ("http://proxy.example:3128", true),
            ("http://10.0.0.1:3128/", true),
            ("https://proxy.example:3128", false),
            ("http://user:password@proxy.example:3128", false),
            ("http://proxy.example:3128/path", false),
            ("proxy.example:3128", false),
        ] {
            assert_eq!(text.parse::<Proxy>().is_ok(), is_right, "{text}");
        }
    }

    #[test]
    fn the_parts_are_those_of_the_url() {
        let endpoint: Endpoint = "https://[::1]:8443/a/b?c=d".parse().unwrap();
        assert_eq!((endpoint.host(), endpoint.port()), ("::1", 8443));
        assert_eq!(endpoint.authority(), "[::1]:8443");
        assert_eq!(endpoint.target(), "/a/b?c=d");
        let bare: Endpoint = "https://idp.example".parse().unwrap();
        assert_eq!((bare.target(), bare.path(), bare.port()), ("/", "", 443));
    }
}
