//! The value of a setting: how it is written and parsed, and what its default is.

use std::fmt::Display;

/// What is shown in place of a secret.
pub(super) const HIDDEN: &str = "(hidden)";

/// The form of a value on the command line, in the environment and in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// One text. The file may also have a number or a boolean.
    Single,
    /// Like [`Form::Single`], but the flag without a value means `true`.
    Switch,
    /// Several texts: a repeatable flag, a list in the file, or separated by commas in the environment.
    List,
    /// Like [`Form::List`], but the file may also have a table with an entry for each `a=b`.
    Pairs,
}

impl Form {
    /// Whether the setting may have several texts.
    pub fn is_list(self) -> bool {
        matches!(self, Self::List | Self::Pairs)
    }

    /// Splits one text into the texts of a setting. Those of a list are separated by commas.
    pub fn texts(self, text: String) -> Vec<String> {
        match self.is_list() {
            false => vec![text],
            true => text.split(',').map(str::to_owned).collect(),
        }
    }
}

/// The mark of a setting whose value may be a secret. A secret is refused on the command line, and the
/// help never shows the value of its environment variable.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secrecy {
    /// Returns whether a text contains a secret.
    pub is_secret: fn(&str) -> bool,
    /// Returns a text without its secret.
    pub hide: fn(&str) -> String,
    /// The setting to use instead.
    pub instead: &'static str,
}

/// What the help, the command line and the file need to know about a setting.
#[derive(Clone, Debug)]
pub(super) struct Style {
    pub form: Form,
    /// The placeholder for the value in the help.
    pub value_name: &'static str,
    /// The default, as the help shows it.
    pub default: Option<&'static str>,
    /// The heading in the help, if it isn't the subject's.
    pub heading: Option<&'static str>,
    pub secrecy: Option<Secrecy>,
}

/// Parses the texts of a setting, or says what is wrong with each invalid text.
type Read<T> = Box<dyn Fn(&[String]) -> Result<T, Vec<String>>>;

/// How a setting is written and parsed.
pub(super) struct Value<T> {
    pub style: Style,
    /// Parses the texts of a setting. An unset setting has no texts.
    pub read: Read<T>,
}

impl<T: 'static> Value<T> {
    /// Returns a list. `add` parses one text and adds it to the value. Its errors must not quote the text.
    /// The default is the empty list.
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
            for (at, text) in texts.iter().enumerate() {
                if let Err(error) = add(&mut value, text) {
                    wrong.push(match texts.len() {
                        1 => error.to_string(),
                        _ => format!("entry {} {error}", at + 1),
                    });
                }
            }
            if wrong.is_empty() {
                Ok(value)
            } else {
                Err(wrong)
            }
        };
        Self {
            style: Style::new(form, value_name),
            read: Box::new(read),
        }
    }

    /// Puts the setting under `heading` in the help, instead of the subject's heading.
    pub fn heading(mut self, heading: &'static str) -> Self {
        self.style.heading = Some(heading);
        self
    }

    /// Shows `words` as the default in the help, for a setting without a fixed default.
    pub fn otherwise(mut self, words: &'static str) -> Self {
        self.style.default = Some(words);
        self
    }

    /// Marks the value as a secret. The operator should use the setting `instead`.
    pub fn secret(self, instead: &'static str) -> Self {
        self.secret_if(|_| true, |_| HIDDEN.to_owned(), instead)
    }

    /// Marks the value as a secret if `is_secret` returns `true` for its text. `hide` returns a text without
    /// its secret. See [`Value::secret`].
    pub fn secret_if(
        mut self,
        is_secret: fn(&str) -> bool,
        hide: fn(&str) -> String,
        instead: &'static str,
    ) -> Self {
        self.style.secrecy = Some(Secrecy {
            is_secret,
            hide,
            instead,
        });
        self
    }
}

impl Style {
    /// Returns the style of a value that has no default and no secrets, under the subject's heading.
    pub fn new(form: Form, value_name: &'static str) -> Self {
        Self {
            form,
            value_name,
            default: None,
            heading: None,
            secrecy: None,
        }
    }
}
