//! A report as text, for people.

use std::fmt;

use super::{Finding, FindingKind, Report, Severity, Sum};

/// How many leftovers of a kind are listed. There may be very many, and they need no action. The report in JSON lists
/// more.
const LEFTOVERS: usize = 5;

/// Writes `report`.
pub fn write(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    looked_at(report, f)?;
    if let Some(others) = &report.tenants_with_data {
        writeln!(
            f,
            "The tenant {} holds no data. In this Redis {others}",
            report.tenant
        )?;
    }
    match (report.damaged(), report.unmended()) {
        (0, _) => writeln!(f, "Damage: none")?,
        (damaged, 0) => writeln!(f, "Damage: {damaged}, all mended")?,
        (damaged, left) if left < damaged => {
            writeln!(f, "Damage: {damaged}, of which {left} not mended")?;
        }
        (damaged, _) => writeln!(f, "Damage: {damaged}")?,
    }
    kinds(report, Severity::Damage, &report.damage, f)?;
    let leftovers: u64 = report
        .sums(Severity::Leftover)
        .map(|(_, sum)| sum.found)
        .sum();
    if leftovers > 0 {
        writeln!(
            f,
            "Left over: {leftovers} (no damage: rows that expire leave this behind, and writes prune it \
             bit by bit)"
        )?;
        kinds(report, Severity::Leftover, &report.leftovers, f)?;
    }
    if !report.is_migrated && !report.is_empty() {
        writeln!(
            f,
            "Migration: no broker has noted one. Running brokers migrate within seconds, others when they start"
        )?;
        if report.unmigrated() > 0 {
            writeln!(
                f,
                "  until then no call finds the {} rows of the older layout",
                report.unmigrated()
            )?;
        }
    }
    if report.grace_period {
        writeln!(f, "Grace period: open, other software may write")?;
    }
    if let Some(policy) = &report.eviction {
        writeln!(
            f,
            "Eviction: {policy}; when its memory is full, this Redis removes rows and indexes that are needed: set \
             maxmemory-policy to noeviction"
        )?;
    }
    Ok(())
}

fn looked_at(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let counts = &report.counts;
    writeln!(
        f,
        "Checked {} keys in {:.1} s, {}",
        counts.keys,
        report.seconds,
        if report.repair {
            "and mended what could be mended"
        } else {
            "and changed nothing"
        }
    )?;
    for (count, what) in [
        (counts.rows, "rows"),
        (counts.session_indexes, "indexes of sessions"),
        (counts.user_indexes, "indexes of users"),
        (counts.users, "records of users"),
        (counts.identities, "identities"),
        (counts.identity_sets, "users' sets of identities"),
        (counts.pending, "pending authorizations"),
        (
            counts.pending_key_missing,
            "of these sealed under a key that isn't in seal-keys",
        ),
        (counts.members, "members of indexes and sets"),
        (
            counts.others_rows,
            "of these are rows that other software spells in its own way, left alone",
        ),
        (counts.null_rows, "rows that are null, which are none"),
        (counts.sealed_rows, "rows that are sealed"),
        (
            counts.key_missing,
            "of these under a key that isn't in seal-keys",
        ),
        (
            counts.legacy_rows,
            "rows of the older layout, left to `migrate`",
        ),
        (
            counts.unsettled,
            "rows that kept changing, of which nothing can be said",
        ),
        (counts.records, "records of the brokers' own"),
        (counts.other_keys, "other keys, not looked at"),
    ] {
        if count > 0 {
            writeln!(f, "  {count} {what}")?;
        }
    }
    Ok(())
}

fn kinds(
    report: &Report,
    severity: Severity,
    listed: &[Finding],
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for (kind, sum) in report.sums(severity) {
        let Sum { found, mended } = sum;
        let state = match kind.remedy() {
            _ if mended == found => "mended",
            Some(remedy) => remedy,
            None => "--repair mends it",
        };
        writeln!(f, "  {} ({}): {found}", kind.name(), kind.invariant())?;
        writeln!(f, "    {}; {state}", kind.meaning())?;
        let most = match severity {
            Severity::Damage => usize::MAX,
            Severity::Leftover => LEFTOVERS,
        };
        let own = listed
            .iter()
            .filter(|finding| finding.kind == kind)
            .take(most);
        let mut shown = 0;
        for finding in own {
            shown += 1;
            line(finding, f)?;
        }
        if found > shown {
            writeln!(
                f,
                "    and {} more; --list-at-most shows more",
                found - shown
            )?;
        }
    }
    Ok(())
}

fn line(finding: &Finding, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let key = finding.key.escape_debug();
    let Some(index) = &finding.index else {
        return writeln!(f, "    {key}");
    };
    let relation = match finding.kind {
        FindingKind::MissingInSessionIndex
        | FindingKind::MissingInUserIndex
        | FindingKind::MissingInIdentitySet
        | FindingKind::MissingInPendingSet => "not in",
        FindingKind::SessionIndexEndsEarly
        | FindingKind::UserIndexEndsEarly
        | FindingKind::PendingSetEndsEarly => "outlives",
        _ => "in",
    };
    writeln!(f, "    {key} {relation} {}", index.escape_debug())
}
