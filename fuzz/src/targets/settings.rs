//! Whatever a setting is set to, no message quotes it. Each line is a name, an equals sign and a value.

use token_broker::config::{Problem, Settings};

use crate::input::{CANARY, planted, prints_nothing, quotes_nothing};

/// The settings that give names to something.
const PAIRS: [&str; 2] = ["legacy-provider", "trust-domains"];

pub fn run(bytes: &[u8]) -> Option<()> {
    let text = str::from_utf8(bytes).ok()?;
    let pairs: Vec<_> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .collect();
    // The name is told, and values that are paths are read: neither a device nor what the kernel makes up.
    if pairs
        .iter()
        .any(|(name, value)| name.contains(CANARY) || reads_a_device(value))
    {
        return None;
    }
    let settings = match Settings::from_pairs(pairs.iter().copied()) {
        Ok(settings) => settings,
        Err(problem) => {
            quotes_nothing("a problem", &problem.to_string());
            return None;
        }
    };
    // What isn't secret is printed, such as the path of a file.
    let shows_it = |(name, value): &(&str, &str)| value.contains(CANARY) && !is_secret(name);
    if !pairs.iter().any(shows_it) {
        prints_nothing("settings", &settings);
    }
    settings.listens_on().ok();
    match settings.clone().resolve() {
        Ok(config) => {
            let _ = settings.listed(&config);
        }
        Err(problems) => {
            let names_it = pairs.iter().any(is_named);
            for problem in flawed(problems, &pairs) {
                if !names_it {
                    quotes_nothing("a problem", &problem.to_string());
                }
            }
        }
    }
    Some(())
}

/// Whether a value has the canary in a name, which is told: that of a trust domain, or of an older type of providers.
fn is_named((name, value): &(&str, &str)) -> bool {
    let names = value.rsplit_once('=').map(|(names, _)| names);
    PAIRS.contains(name) && names.is_some_and(|names| names.contains(CANARY))
}

/// Whether the values of a setting are secret.
fn is_secret(name: &str) -> bool {
    name.ends_with("password") || name.ends_with("-url")
}

/// Whether a text may lead to a file that has no end.
pub fn reads_a_device(text: &str) -> bool {
    ["/dev", "/proc", "/sys", "..", "\\"]
        .iter()
        .any(|part| text.contains(part))
}

fn flawed(mut problems: Vec<Problem>, pairs: &[(&str, &str)]) -> Vec<Problem> {
    // A message that quotes a value which is longer than most.
    if planted() {
        for problem in &mut problems {
            let of_it = pairs.iter().filter(|(name, _)| *name == problem.setting);
            let long = of_it.filter(|(_, value)| value.len() > CANARY.len());
            long.for_each(|(_, value)| problem.message += value);
        }
    }
    problems
}
