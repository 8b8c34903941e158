//! Parsers for the text of a setting.
//!
//! A [`Syntax`] becomes a [`Value`] once it is known what an unset setting means:
//! `span().default("10s")`, `file().optional()`.

use std::{
    fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration,
};

use super::{
    address,
    value::{Form, Style, Value},
};

/// Parses one text, or says what is wrong with it.
type Parse<T> = Box<dyn Fn(&str) -> Result<T, String>>;

/// A parser of one text. Its error messages never quote the text: it may be a secret that was meant for
/// another setting.
pub(super) struct Syntax<T> {
    form: Form,
    value_name: &'static str,
    parse: Parse<T>,
}

impl<T: 'static> Syntax<T> {
    /// Returns a syntax that parses the text as it is.
    pub fn verbatim(
        value_name: &'static str,
        parse: impl Fn(&str) -> Result<T, String> + 'static,
    ) -> Self {
        Self {
            form: Form::Single,
            value_name,
            parse: Box::new(parse),
        }
    }

    /// Returns a syntax that parses the text without the white space around it.
    pub fn trimmed(
        value_name: &'static str,
        parse: impl Fn(&str) -> Result<T, String> + 'static,
    ) -> Self {
        Self::verbatim(value_name, move |text| parse(text.trim()))
    }

    /// Makes a value whose default is `text`, which must be valid.
    pub fn default(self, text: &'static str) -> Value<T> {
        let mut style = Style::new(self.form, self.value_name);
        style.default = Some(text);
        let read = move |texts: &[String]| {
            let text = texts.first().map_or(text, String::as_str);
            (self.parse)(text).map_err(|message| vec![message])
        };
        Value {
            style,
            read: Box::new(read),
        }
    }

    /// Makes a value that is `None` if the setting is unset.
    pub fn optional(self) -> Value<Option<T>> {
        let style = Style::new(self.form, self.value_name);
        let read = move |texts: &[String]| {
            let value = texts.first().map(|text| (self.parse)(text)).transpose();
            value.map_err(|message| vec![message])
        };
        Value {
            style,
            read: Box::new(read),
        }
    }
}

/// Accepts any text but the empty one.
pub(super) fn text(value_name: &'static str) -> Syntax<String> {
    Syntax::verbatim(value_name, move |text| match text {
        "" => Err(format!("must be {value_name}, or unset")),
        text => Ok(text.to_owned()),
    })
}

/// The placeholder for the path of a file. That of a file with a name before it ends with it.
pub(super) const FILE: &str = "FILE";

/// Accepts the path of a file.
pub(super) fn file() -> Syntax<PathBuf> {
    Syntax::verbatim(FILE, |path| match path {
        "" => Err("must be the path of a file, or unset".to_owned()),
        path => Ok(PathBuf::from(path)),
    })
}

/// Parses a type that implements [`FromStr`]. Its errors must not quote the text.
pub(super) fn parsed<T: FromStr<Err: Display> + 'static>(value_name: &'static str) -> Syntax<T> {
    Syntax::trimmed(value_name, |text| {
        text.parse().map_err(|error: T::Err| error.to_string())
    })
}

/// Parses an address and a port.
pub(super) fn address() -> Syntax<SocketAddr> {
    Syntax::trimmed("ADDR:PORT", |text| {
        text.parse()
            .map_err(|_| address::what_is_wrong(text).to_owned())
    })
}

/// Parses `true` or `false`.
pub(super) fn boolean() -> Syntax<bool> {
    Syntax {
        form: Form::Switch,
        ..choice("BOOL", &[("true", true), ("false", false)])
    }
}

/// Parses one of several words.
pub(super) fn choice<T: Copy + 'static>(
    value_name: &'static str,
    choices: &'static [(&'static str, T)],
) -> Syntax<T> {
    Syntax::trimmed(value_name, move |text| {
        let chosen = choices.iter().find(|(word, _)| *word == text);
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            format!("must be one of {}", words.join(", "))
        })
    })
}

/// Parses a whole number in a range.
pub(super) fn number<T>(range: RangeInclusive<T>) -> Syntax<T>
where
    T: FromStr + PartialOrd + Display + 'static,
{
    Syntax::trimmed("N", move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("must be a whole number from {least} to {most}")
        })
    })
}

/// Parses a span of time that may be zero.
pub(super) fn span_or_none() -> Syntax<Duration> {
    let span = span();
    Syntax::trimmed("SPAN", move |text| {
        let is_zero = parse_span(text).is_ok_and(|span| span.is_zero());
        if is_zero {
            Ok(Duration::ZERO)
        } else {
            (span.parse)(text)
        }
    })
}

/// Parses a span of time of at least a millisecond.
pub(super) fn span() -> Syntax<Duration> {
    span_from(Duration::from_millis(1))
}

/// Parses a span of time that is at least `least`.
pub(super) fn span_from(least: Duration) -> Syntax<Duration> {
    const MOST: Duration = Duration::from_secs(100 * 366 * 86_400);
    Syntax::trimmed("SPAN", move |text| {
        let span = parse_span(text).and_then(|span| {
            Some(span)
                .filter(|span| (least..=MOST).contains(span))
                .ok_or(LIKE)
        });
        span.map_err(|hint| {
            // No example may be a mistake.
            let hint = match hint {
                LIKE if least > Duration::from_millis(500) => "like 10s, 5m or 30days",
                hint => hint,
            };
            let least = humantime::format_duration(least);
            format!("must be a span of time from {least} to 100 years, {hint}")
        })
    })
}

/// The end of a message about a span of time.
const LIKE: &str = "like 500ms, 10s or 30days";

/// Parses a span of time.
///
/// # Errors
/// Returns the end of a message that says how a span is written.
pub(super) fn parse_span(text: &str) -> Result<Duration, &'static str> {
    // An M alone is a month, which hardly anybody means.
    let mut units = text.split(|c: char| !c.is_ascii_alphabetic());
    if units.any(|unit| unit == "M") {
        return Err(
            "where M is neither minutes nor months: write m for minutes, months for months",
        );
    }
    humantime::parse_duration(text).map_err(|_| LIKE)
}
