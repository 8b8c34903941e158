//! Who calls, as metrics tell it: by role, and never by name.

use http::Extensions;

/// The class of a caller: its role, of which there are few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerClass {
    /// A caller without a role, or one that isn't known.
    None,
}

impl CallerClass {
    /// All classes.
    pub const ALL: [Self; 1] = [Self::None];

    /// Returns the class of the caller of a request with these extensions.
    #[must_use]
    pub fn of(_extensions: &Extensions) -> Self {
        Self::None
    }

    /// Returns its name in metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
        }
    }
}
