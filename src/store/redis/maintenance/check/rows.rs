//! Whether rows can be read, and are in the indexes that they belong into.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Check, Finding, FindingKind, report::Part, role::ExpectedRow};
use crate::{
    error::Error,
    store::redis::{link::reply, row, scripts::Call},
    types::UserId,
};

/// How often a row is looked at that others write meanwhile.
const ATTEMPTS: usize = 20;

/// What is read of a row to know where it belongs.
#[derive(Default, Deserialize)]
struct Named {
    #[serde(default)]
    user_id: Option<serde_json::Value>,
    #[serde(default)]
    provider_id: Option<serde_json::Value>,
}

/// A row's bytes as they tell where it belongs.
struct ReadRow {
    expected: ExpectedRow,
    user: String,
    user_index: Option<String>,
}

impl Check {
    /// Looks at some rows.
    pub(super) async fn rows(&self, places: Vec<ExpectedRow>) -> Result<Part, Error> {
        let mut part = Part::default();
        let mut open = places;
        for _ in 0..ATTEMPTS {
            if open.is_empty() {
                return Ok(part);
            }
            open = self.attempt(open, &mut part).await?;
            part.looked_again += open.len() as u64;
        }
        // Neither sound nor damaged: it was another row whenever it was looked at.
        part.counts.unsettled += open.len() as u64;
        Ok(part)
    }

    /// Gives back those that changed between being read and being looked for.
    async fn attempt(
        &self,
        open: Vec<ExpectedRow>,
        part: &mut Part,
    ) -> Result<Vec<ExpectedRow>, Error> {
        let mut again = Vec::new();
        let seen = self.read(open, part, &mut again).await?;
        let grace = self.keys.grace();
        let calls: Vec<_> = seen.iter().map(|seen| self.look(seen, &grace)).collect();
        let answers = self.link.call_each(&calls, self.effect()).await?;
        drop(calls);
        for (seen, answer) in seen.into_iter().zip(answers) {
            let told: Vec<String> = reply::parse(answer)?;
            if told.first().is_some_and(|word| word == "changed") {
                again.push(seen.expected);
                continue;
            }
            part.counts.rows += 1;
            for fault in told.chunks(2) {
                part.findings.push(seen.finding(fault, self.repair)?);
            }
        }
        Ok(again)
    }

    fn look<'a>(&'a self, seen: &'a ReadRow, grace: &'a str) -> Call<'a> {
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        let mut keys = vec![&*seen.expected.row, &*seen.expected.session_index, grace];
        keys.extend(seen.user_index.as_deref());
        Call {
            script: &self.scripts.check_row,
            keys,
            args: vec![self.keys.prefix().as_bytes(), seen.user.as_bytes(), mend],
        }
    }

    /// Reads the rows and tells what can be told without the indexes.
    async fn read(
        &self,
        open: Vec<ExpectedRow>,
        part: &mut Part,
        again: &mut Vec<ExpectedRow>,
    ) -> Result<Vec<ReadRow>, Error> {
        let keys = open.iter().map(|expected| expected.row.as_str());
        let values = self.link.strings(keys).await?;
        let (mut seen, mut no_string) = (Vec::with_capacity(open.len()), Vec::new());
        for (expected, value) in open.into_iter().zip(values) {
            match value.map(Zeroizing::new) {
                None => no_string.push(expected),
                Some(bytes) if *bytes == row::NULL => part.counts.null_rows += 1,
                Some(bytes) => seen.push(self.judge(expected, &bytes, part)),
            }
        }
        let keys = no_string
            .iter()
            .map(|expected: &ExpectedRow| expected.row.as_str());
        let kinds = self.link.kinds(keys).await?;
        for (expected, kind) in no_string.into_iter().zip(kinds) {
            match kind.as_str() {
                "none" => {}
                "string" => again.push(expected),
                _ => {
                    let finding = Finding::of(FindingKind::UnreadableRow, &expected.row, false);
                    part.findings.push(finding);
                }
            }
        }
        Ok(seen)
    }

    fn judge(&self, expected: ExpectedRow, bytes: &[u8], part: &mut Part) -> ReadRow {
        let named = Named::read(bytes);
        if !matches!(row::decode_slice(bytes, &expected.provider), Some(Ok(_))) {
            let kind = match named.provider() {
                Some(named) if named != expected.provider.as_str() => {
                    FindingKind::RowOfAnotherProvider
                }
                _ => FindingKind::UnreadableRow,
            };
            part.findings.push(Finding::of(kind, &expected.row, false));
        }
        let user = named.user();
        let id = UserId::from_stored(user.clone());
        ReadRow {
            expected,
            user_index: id.map(|id| self.keys.user_index(&id)),
            user,
        }
    }
}

impl Named {
    /// As the scripts read it: what isn't an object names nobody.
    fn read(bytes: &[u8]) -> Self {
        if bytes.trim_ascii_start().first() != Some(&b'{') {
            return Self::default();
        }
        serde_json::from_slice(bytes).unwrap_or_default()
    }

    fn provider(&self) -> Option<&str> {
        self.provider_id
            .as_ref()?
            .as_str()
            .filter(|id| !id.is_empty())
    }

    fn user(&self) -> String {
        let user = self.user_id.as_ref().and_then(|user| user.as_str());
        user.unwrap_or_default().to_owned()
    }
}

impl ReadRow {
    fn finding(&self, fault: &[String], repair: bool) -> Result<Finding, Error> {
        let unknown = || Error::store_unavailable("check_row.lua gave no known answer");
        let [place, fault] = fault else {
            return Err(unknown());
        };
        let kind = match (place.as_str(), fault.as_str()) {
            ("session", "missing") => FindingKind::MissingInSessionIndex,
            ("session", "early") => FindingKind::SessionIndexEndsEarly,
            ("user", "missing") => FindingKind::MissingInUserIndex,
            ("user", "early") => FindingKind::UserIndexEndsEarly,
            _ => return Err(unknown()),
        };
        let index = match place.as_str() {
            "session" => &self.expected.session_index,
            _ => self.user_index.as_ref().ok_or_else(unknown)?,
        };
        Ok(Finding::within(kind, &self.expected.row, index, repair))
    }
}
