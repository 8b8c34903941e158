//! What an operator can do next. Whoever follows a piece of advice comes to another one, or is done.

use super::Report;

/// Returns the advice that goes with a report: what is in the way first.
pub fn of(report: &Report) -> String {
    let counts = &report.counts;
    if let Some(others) = &report.tenants_with_data
        && report.in_grace
    {
        return match report.is_misnamed() {
            true => format!(
                "the tenant has no row; of those that hold data in this Redis {others}: is `tenant` what brokers have?"
            ),
            false => "the tenant has no row: no broker has served it, or it is in its grace period"
                .to_owned(),
        };
    }
    let Some(first) = &report.sealing else {
        return match counts.sealed.is_empty() {
            true => "nothing is sealed: seal-keys isn't set".to_owned(),
            false => "rows are sealed, and seal-keys isn't set: name the file that has their keys"
                .to_owned(),
        };
    };
    if counts.key_missing > 0 {
        return of_missing_keys(report);
    }
    if report.in_grace {
        return "nothing is sealed in the grace period: `token-broker migrate --finish` ends it"
            .to_owned();
    }
    // Where all have to be sealed, plain rows can't be read, and all others that can't are damaged.
    let plain = if report.require_sealed {
        counts.plain
    } else {
        0
    };
    if counts.unreadable > plain {
        return "some rows can't be read: `token-broker check` names them; keep all keys, and leave require-sealed off, until that \
                is clear"
            .to_owned();
    }
    if plain > 0 {
        return format!(
            "{plain} rows are not sealed, and require-sealed is on, so that they can't be read: if you trust them, run \
             `token-broker keys rotate` without require-sealed"
        );
    }
    if report.done_in_pass > 0 {
        return format!(
            "the last pass still found rows to seal with {first}: a broker seals with another key; give all the same first key, \
             and run the command again"
        );
    }
    let left = report.left() - counts.older;
    if left > 0 {
        return format!(
            "{left} rows are not sealed with {first}: `token-broker keys rotate` seals those that can be read"
        );
    }
    match counts.older {
        0 => format!(
            "all rows are sealed with {first}, and require-sealed can be turned on. Other keys can go when all brokers have sealed with \
             it for an hour: the payloads of pending authorizations may be under them until then"
        ),
        older => format!(
            "{older} rows are in the layout of older software, and not sealed: `token-broker migrate --finish` moves them, or says \
             why not; then `token-broker keys rotate` seals them"
        ),
    }
}

fn of_missing_keys(report: &Report) -> String {
    let advice =
        "some rows are sealed with a key that isn't in seal-keys: put it back, behind the others";
    let mut keys = report.counts.sealed.keys();
    if keys.any(|key| !report.keys.contains(key) && report.namesake(key).is_some()) {
        return format!(
            "{advice}; a key of its name is there: give one of them another name, which changes nothing else"
        );
    }
    advice.to_owned()
}
