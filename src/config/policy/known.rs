//! What of a policy has no effect at this broker: callers and credentials that it can't know.

use super::credentials::key_of;
use crate::{
    access::{Credential, Hindrance, Policy, Ways},
    config::{Problem, listed::key, settings::AccessSettings},
};

/// So many warnings are told one by one.
const TOLD: usize = 20;

/// Returns a warning for each key of a caller that has entries by which the caller can't be known here, and one for each caller
/// that can't be known at all.
pub(super) fn warnings(policy: &Policy, ways: &Ways) -> Vec<Problem> {
    let mut found = Vec::new();
    let (mut callers, mut unknown) = (0, 0);
    for caller in policy.callers() {
        let Some((_, credentials)) = policy.caller(&caller.name) else {
            continue;
        };
        let hindrances = ways.hindrances(credentials);
        let head = format!("callers.{}", key(&caller.name));
        callers += 1;
        for (key, entries, why) in lacking(credentials, &hindrances) {
            let entries = match &entries[..] {
                [one] => format!("entry {one}"),
                several => format!("entries {}", several.join(", ")),
            };
            found.push(format!("{head}.{key}: {entries} can't be used here: {why}"));
        }
        if hindrances.iter().all(Option::is_some) {
            unknown += 1;
            found.push(format!(
                "{head}: no call can be this caller's here: the broker can't know it by anything that is configured"
            ));
        }
    }
    let more = found.len().saturating_sub(TOLD);
    found.truncate(TOLD);
    if more > 0 {
        found.push(format!("there are {more} further warnings like these"));
    }
    if unknown == callers {
        found.push("no caller can be known here: every call will be refused".to_owned());
    }
    let found = found.into_iter();
    found
        .map(|message| Problem::new(AccessSettings::policy, message))
        .collect()
}

/// Returns the keys that have entries without effect, with the numbers of these entries and the reason.
fn lacking(
    credentials: &[Credential],
    hindrances: &[Option<Hindrance>],
) -> Vec<(&'static str, Vec<String>, Hindrance)> {
    let mut found: Vec<(_, Vec<String>, _)> = Vec::new();
    let mut number = (None, 0);
    for (credential, why) in credentials.iter().zip(hindrances) {
        // The entries of a key stand together, in the order of the file.
        let key = key_of(credential);
        number = match number {
            (Some(same), number) if same == key => (Some(key), number + 1),
            _ => (Some(key), 1),
        };
        let Some(why) = *why else { continue };
        let entry = number.1.to_string();
        match found.last_mut() {
            Some((last, entries, same)) if (*last, *same) == (key, why) => entries.push(entry),
            _ => found.push((key, vec![entry], why)),
        }
    }
    found
}
