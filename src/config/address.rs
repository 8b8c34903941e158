//! What is wrong with the text of an address and a port. The messages don't quote it.

/// The form of an address and a port.
pub const FORM: &str = "must be an address and a port, like 127.0.0.1:50051 or [::1]:50051";

/// Returns what is wrong with a text that isn't an address or a name, with a port. The address may be missing.
#[must_use]
pub fn what_is_wrong_with_host_and_port(text: &str) -> Option<&'static str> {
    if text.contains("://") {
        return Some("must be an address and a port without a scheme, like 127.0.0.1:50051");
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Some("has no port: it must be like 127.0.0.1:50051 or [::1]:50051");
    };
    if host.contains(':') && !host.starts_with('[') {
        return Some("must have an IPv6 address in brackets, like [::1]:50051");
    }
    if port.parse::<u16>().is_err() {
        return Some("must end in a port from 0 to 65535, like 127.0.0.1:50051");
    }
    None
}

/// Returns what is wrong with a text that isn't an address with a port.
#[must_use]
pub fn what_is_wrong(text: &str) -> &'static str {
    if let Some(wrong) = what_is_wrong_with_host_and_port(text) {
        return wrong;
    }
    match text.rsplit_once(':').unwrap_or_default().0 {
        "" => {
            "has no address before the port: write 127.0.0.1 for callers on this machine, 0.0.0.0 for all"
        }
        "localhost" => {
            "must be an address and not a name: for localhost write 127.0.0.1:50051 or [::1]:50051"
        }
        host if host.starts_with('[') => FORM,
        _ => "must be an address and not a name, like 127.0.0.1:50051 or [::1]:50051",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_mistakes_are_told_apart() {
        for (text, told) in [
            ("http://127.0.0.1:50051", "without a scheme"),
            ("127.0.0.1", "no port"),
            ("", "no port"),
            ("::1:50051", "brackets"),
            ("[::1]", "port from 0"),
            ("127.0.0.1:grpc", "port from 0"),
            ("127.0.0.1:70000", "port from 0"),
            (":50051", "no address"),
            ("localhost:50051", "for localhost write 127.0.0.1"),
            ("broker.test:50051", "not a name"),
            ("[x]:50051", FORM),
        ] {
            assert!(
                what_is_wrong(text).contains(told),
                "{text}: {}",
                what_is_wrong(text)
            );
        }
        for good in [
            "localhost:50051",
            ":50051",
            "[::1]:50051",
            "127.0.0.1:50051",
        ] {
            assert_eq!(what_is_wrong_with_host_and_port(good), None, "{good}");
        }
    }
}
