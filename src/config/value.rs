//! How the value of a setting is written, and how its text is read.
//!
//! A [`Syntax`] reads one text. It becomes a [`Value`] when it is said what an unset setting means:
//! `span().default("10s")`, `file().optional()`.

use std::{
    fmt::Display, net::SocketAddr, ops::RangeInclusive, path::PathBuf, str::FromStr, time::Duration,
};

/// Where a value may be written, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One text. The file may write a number or a boolean as such.
    Single,
    /// Like [`Form::Single`], and the flag alone means `true`.
    Switch,
    /// Several texts: a repeatable flag, separated by commas in the environment, a list in the file.
    List,
    /// Like [`Form::List`], and the file may write `a=b` as an entry of a table.
    Pairs,
}

/// What holds for a setting whose value may be a secret. Such a value is refused on the command line
/// and never shown in the help.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secrecy {
    /// Whether a text holds a secret.
    pub is_secret: fn(&str) -> bool,
    /// The setting to use instead.
    pub instead: &'static str,
}

/// What is the same for values of all types.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub form: Form,
    /// What stands for the value in the help.
    pub value_name: &'static str,
    /// What an unset setting means, as the help says it.
    pub default: Option<&'static str>,
    /// The heading in the help, if it is another one than that of the subject.
    pub heading: Option<&'static str>,
    pub secrecy: Option<Secrecy>,
}

type Read<T> = Box<dyn Fn(&[String]) -> Result<T, Vec<String>>>;

/// How a setting is written and read.
pub(super) struct Value<T> {
    pub style: Style,
    /// Reads the texts of a setting, of which an unset one has none.
    pub read: Read<T>,
}

impl<T: 'static> Value<T> {
    /// A list. `add` adds one text to the value; an unset setting is the empty list.
    pub fn list<E: Display>(
        form: Form,
        value_name: &'static str,
        add: impl Fn(&mut T, &str) -> Result<(), E> + 'static,
    ) -> Self
    where
        T: Default,
    {
        let read = move |texts: &[String]| {
            let (mut value, mut wrong) = (T::default(), Vec::new());
            for text in texts {
                if let Err(error) = add(&mut value, text) {
                    wrong.push(format!("{text:?} {error}"));
                }
            }
            if wrong.is_empty() {
                Ok(value)
            } else {
                Err(wrong)
            }
        };
        Self {
            style: style(form, value_name),
            read: Box::new(read),
        }
    }

    /// The same value under another heading than that of the subject.
    pub fn heading(mut self, heading: &'static str) -> Self {
        self.style.heading = Some(heading);
        self
    }

    /// What the help tells of an unset setting that has no fixed default.
    pub fn otherwise(mut self, words: &'static str) -> Self {
        self.style.default = Some(words);
        self
    }

    /// A secret, which the setting `instead` can hold in a better way.
    pub fn secret(self, instead: &'static str) -> Self {
        self.secret_if(|_| true, instead)
    }

    /// Like [`Value::secret`], for a text that may hold a secret.
    pub fn secret_if(mut self, is_secret: fn(&str) -> bool, instead: &'static str) -> Self {
        self.style.secrecy = Some(Secrecy { is_secret, instead });
        self
    }
}

/// How one text is read. What a wrong text is told never quotes a secret.
pub(super) struct Syntax<T> {
    form: Form,
    value_name: &'static str,
    parse: Box<dyn Fn(&str) -> Result<T, String>>,
}

impl<T: 'static> Syntax<T> {
    /// Reads the text as it is.
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

    /// Reads the text without the white space around it.
    pub fn trimmed(
        value_name: &'static str,
        parse: impl Fn(&str) -> Result<T, String> + 'static,
    ) -> Self {
        Self::verbatim(value_name, move |text| parse(text.trim()))
    }

    /// Where the setting is unset, its value is that of `text`, which must be valid.
    pub fn default(self, text: &'static str) -> Value<T> {
        let mut style = style(self.form, self.value_name);
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

    /// Where the setting is unset, it has no value.
    pub fn optional(self) -> Value<Option<T>> {
        let style = style(self.form, self.value_name);
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

fn style(form: Form, value_name: &'static str) -> Style {
    Style {
        form,
        value_name,
        default: None,
        heading: None,
        secrecy: None,
    }
}

/// Any text.
pub(super) fn text(value_name: &'static str) -> Syntax<String> {
    Syntax::verbatim(value_name, |text| Ok(text.to_owned()))
}

/// The path of a file.
pub(super) fn file() -> Syntax<PathBuf> {
    Syntax::verbatim("FILE", |path| Ok(PathBuf::from(path)))
}

/// A type that knows how it is written.
pub(super) fn parsed<T: FromStr<Err: Display> + 'static>(value_name: &'static str) -> Syntax<T> {
    Syntax::trimmed(value_name, |text| {
        text.parse().map_err(|error| format!("{text:?} {error}"))
    })
}

/// An address and a port.
pub(super) fn address() -> Syntax<SocketAddr> {
    Syntax::trimmed("ADDR:PORT", |text| {
        text.parse().map_err(|_| {
            format!("{text:?} is not an address and port, like 127.0.0.1:50051 or [::1]:50051")
        })
    })
}

/// `true` or `false`.
pub(super) fn boolean() -> Syntax<bool> {
    Syntax {
        form: Form::Switch,
        ..choice("BOOL", &[("true", true), ("false", false)])
    }
}

/// One of several words.
pub(super) fn choice<T: Copy + 'static>(
    value_name: &'static str,
    choices: &'static [(&'static str, T)],
) -> Syntax<T> {
    Syntax::trimmed(value_name, move |text| {
        let chosen = choices.iter().find(|(word, _)| *word == text);
        chosen.map(|(_, value)| *value).ok_or_else(|| {
            let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
            format!("{text:?} is none of {}", words.join(", "))
        })
    })
}

/// A whole number in a range.
pub(super) fn number<T>(range: RangeInclusive<T>) -> Syntax<T>
where
    T: FromStr + PartialOrd + Display + 'static,
{
    Syntax::trimmed("N", move |text| {
        let number = text.parse().ok().filter(|number| range.contains(number));
        number.ok_or_else(|| {
            let (least, most) = (range.start(), range.end());
            format!("{text:?} is not a whole number from {least} to {most}")
        })
    })
}

/// A span of time.
pub(super) fn span() -> Syntax<Duration> {
    const SPANS: RangeInclusive<Duration> =
        Duration::from_millis(1)..=Duration::from_secs(100 * 366 * 86_400);
    Syntax::trimmed("SPAN", |text| {
        let span = humantime::parse_duration(text).ok();
        span.filter(|span| SPANS.contains(span)).ok_or_else(|| {
            format!(
                "{text:?} is not a span of time from 1ms to 100 years, like 500ms, 10s or 30days"
            )
        })
    })
}
