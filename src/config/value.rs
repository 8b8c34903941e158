//! The value of a setting: where it may be written, how it is read, and what it is by default.

use std::fmt::Display;

/// What a value looks like in each place where it may be written.
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

/// Marks a setting whose value may be a secret. A secret is refused on the command line, and the help
/// never shows the value that the environment gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Secrecy {
    /// Whether a text holds a secret.
    pub is_secret: fn(&str) -> bool,
    /// The setting to use instead.
    pub instead: &'static str,
}

/// What the help, the command line and the file have to know of a setting.
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

/// Reads the texts of a setting, or says what is wrong with each.
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
            style: Style::new(form, value_name),
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

impl Style {
    /// The style of a value that has no default, the subject's heading and no secrets.
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
