//! The name that was probably meant.

/// Returns the one of `names` that `name` was probably meant to be. Returns `None` if none is near.
pub(super) fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('_', "-");
    let name = plain(name);
    let distance = |other: &str| {
        let other = plain(other);
        // A beginning is meant for the whole.
        let is_begin = name.len() >= 4 && other.starts_with(&name);
        let distance = strsim::damerau_levenshtein(&name, &other);
        if is_begin { distance.min(1) } else { distance }
    };
    let (distance, nearest) = names
        .into_iter()
        .map(|other| (distance(other), other))
        .min_by_key(|(distance, _)| *distance)?;
    // A third of the letters may be wrong.
    (distance * 3 <= name.len()).then_some(nearest)
}

/// Returns the end of a message that names the probable name, or nothing.
pub(super) fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |name| format!("; did you mean {name}?"))
}

/// Returns the end of a message about a name that isn't one of `names`: the one that was probably meant, or nothing.
pub fn meant<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    did_you_mean(nearest(name, names))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typing_mistake_finds_the_name() {
        let names = ["listen", "redis-url", "redis-timeout", "redis-password"];
        for (written, meant) in [
            ("lissten", Some("listen")),
            ("redis_url", Some("redis-url")),
            ("REDIS_URI", Some("redis-url")),
            ("redis-timeuot", Some("redis-timeout")),
            ("redis-pass", Some("redis-password")),
            ("port", None),
            ("x", None),
        ] {
            assert_eq!(nearest(written, names), meant, "{written}");
        }
    }
}
