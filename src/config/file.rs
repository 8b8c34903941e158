//! The configuration file.

use std::path::Path;

use super::{Problem, Settings};

/// Reads a TOML file with the settings under their names.
///
/// # Errors
/// A [`Problem`] of the setting `config`, which tells where in the file it is.
pub fn read(path: &Path) -> Result<Settings, Problem> {
    let problem = |message| Problem {
        setting: "config".to_owned(),
        message,
    };
    let text = std::fs::read_to_string(path)
        .map_err(|error| problem(format!("{} can't be read: {error}", path.display())))?;
    toml::from_str(&text).map_err(|error| {
        // The error's own text would quote the line, which may hold a password.
        let line = error
            .span()
            .map_or(1, |span| text[..span.start].matches('\n').count() + 1);
        problem(format!(
            "{}, line {line}: {}",
            path.display(),
            error.message()
        ))
    })
}
