//! Whether rows can be read, and are in the indexes that they belong into.

use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Check, Finding, Kind, place::Place, report::Part};
use crate::{
    error::Error,
    store::redis::{reply, row_json, scripts::Call},
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
struct Seen {
    place: Place,
    user: String,
    user_index: Option<String>,
}

impl Check {
    /// Looks at some rows.
    pub(super) async fn rows(&self, places: Vec<Place>) -> Result<Part, Error> {
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
    async fn attempt(&self, open: Vec<Place>, part: &mut Part) -> Result<Vec<Place>, Error> {
        let mut again = Vec::new();
        let seen = self.read(open, part, &mut again).await?;
        let grace = self.keys.grace();
        let calls: Vec<_> = seen.iter().map(|seen| self.look(seen, &grace)).collect();
        let answers = self.pool.call_each(&calls, self.effect()).await?;
        drop(calls);
        for (seen, answer) in seen.into_iter().zip(answers) {
            let told: Vec<String> = reply::parse(answer)?;
            if told.first().is_some_and(|word| word == "changed") {
                again.push(seen.place);
                continue;
            }
            part.counts.rows += 1;
            for fault in told.chunks(2) {
                part.findings.push(seen.finding(fault, self.repair)?);
            }
        }
        Ok(again)
    }

    fn look<'a>(&'a self, seen: &'a Seen, grace: &'a str) -> Call<'a> {
        let mend: &[u8] = if self.repair { b"1" } else { b"" };
        let mut keys = vec![&*seen.place.row, &*seen.place.session_index, grace];
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
        open: Vec<Place>,
        part: &mut Part,
        again: &mut Vec<Place>,
    ) -> Result<Vec<Seen>, Error> {
        let keys = open.iter().map(|place| place.row.as_str());
        let values = self.pool.strings(keys).await?;
        let (mut seen, mut no_string) = (Vec::with_capacity(open.len()), Vec::new());
        for (place, value) in open.into_iter().zip(values) {
            match value.map(Zeroizing::new) {
                None => no_string.push(place),
                Some(bytes) if *bytes == row_json::NULL => part.counts.null_rows += 1,
                Some(bytes) => seen.push(self.judge(place, &bytes, part)),
            }
        }
        let keys = no_string.iter().map(|place: &Place| place.row.as_str());
        let kinds = self.pool.kinds(keys).await?;
        for (place, kind) in no_string.into_iter().zip(kinds) {
            match kind.as_str() {
                "none" => {}
                "string" => again.push(place),
                _ => {
                    let finding = Finding::of(Kind::UnreadableRow, &place.row, false);
                    part.findings.push(finding);
                }
            }
        }
        Ok(seen)
    }

    fn judge(&self, place: Place, bytes: &[u8], part: &mut Part) -> Seen {
        let named = Named::read(bytes);
        if row_json::decode_row(bytes, &place.provider).is_err() {
            let kind = match named.provider() {
                Some(named) if named != place.provider.as_str() => Kind::RowOfAnotherProvider,
                _ => Kind::UnreadableRow,
            };
            part.findings.push(Finding::of(kind, &place.row, false));
        }
        let user = named.user();
        let id = UserId::from_stored(user.clone());
        Seen {
            place,
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

impl Seen {
    fn finding(&self, fault: &[String], repair: bool) -> Result<Finding, Error> {
        let unknown = || Error::store_unavailable("check_row.lua gave no known answer");
        let [place, fault] = fault else {
            return Err(unknown());
        };
        let kind = match (place.as_str(), fault.as_str()) {
            ("session", "missing") => Kind::MissingInSessionIndex,
            ("session", "early") => Kind::SessionIndexEndsEarly,
            ("user", "missing") => Kind::MissingInUserIndex,
            ("user", "early") => Kind::UserIndexEndsEarly,
            _ => return Err(unknown()),
        };
        let index = match place.as_str() {
            "session" => &self.place.session_index,
            _ => self.user_index.as_ref().ok_or_else(unknown)?,
        };
        Ok(Finding::within(kind, &self.place.row, index, repair))
    }
}
