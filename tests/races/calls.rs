//! The calls that a caller makes, and what their answers say about the rows.

use std::{collections::BTreeMap, time::Instant};

use rand::RngExt;
use testkit::{
    linearizability::{Action, Condition},
    requests::get_request,
};
use token_broker::proto::v1::{
    DeleteRequest, DeleteUserRequest, GetAllRequest, Precondition, StoreRequest,
    delete_request::Target, precondition,
};

use crate::{
    caller::Caller,
    notes::{Answer, answer},
    rows::{Attempt, RowName, USERS, session_id, user_id},
};

impl Caller {
    fn note(&self, row: RowName, called: Instant, action: Action) {
        self.histories[&row].note(called, action);
    }

    /// Records a call that may have been applied, and may still be.
    fn note_unknown(&self, row: RowName, called: Instant, action: Action) {
        self.histories[&row].note_unknown(called, action);
    }

    /// Returns the version that was found.
    pub(crate) async fn get(&mut self, row: RowName) -> Option<u64> {
        let mut client = self.client.clone();
        let request = get_request(&row.session_id(), row.provider);
        let called = Instant::now();
        let entry = match answer(&mut self.notes, client.get(request)).await {
            Answer::Ok(response) => Some(response.entry.unwrap_or_default()),
            Answer::No => None,
            Answer::Unknown => return None,
        };
        let version = entry.as_ref().map(|entry| entry.version);
        self.note(row, called, Action::Get { version });
        entry.iter().for_each(|entry| self.saw(row, entry));
        version
    }

    /// Returns the version of each row that was found.
    pub(crate) async fn get_all(&mut self, session: u32) -> BTreeMap<RowName, u64> {
        let mut client = self.client.clone();
        let request = GetAllRequest {
            session_id: session_id(session),
            binding: None,
        };
        let (called, mut found) = (Instant::now(), BTreeMap::new());
        let Answer::Ok(response) = answer(&mut self.notes, client.get_all(request)).await else {
            return found;
        };
        for row in RowName::of_session(session) {
            let entry = response.entries.get(row.provider);
            let version = entry.map(|entry| entry.version);
            self.note(row, called, Action::Get { version });
            if let Some(entry) = entry {
                found.insert(row, entry.version);
                self.saw(row, entry);
            }
        }
        if response.entries.len() != found.len() || !response.unreadable.is_empty() {
            let torn = format!("session {session} has rows that no caller stored");
            self.notes.torn.push(torn);
        }
        found
    }

    pub(crate) async fn store_if_absent(&mut self, row: RowName) {
        self.store(row, Condition::Absent, false).await;
    }

    /// Replaces the row, on the condition of the version that this task saw last.
    pub(crate) async fn store_if_version(&mut self, row: RowName) {
        self.store(row, Condition::Version(self.last_seen(row)), false)
            .await;
    }

    /// With `carries`, the row has no refresh token, and keeps the one that the broker knows.
    pub(crate) async fn store(&mut self, row: RowName, condition: Condition, carries: bool) {
        let mut client = self.client.clone();
        self.attempts += 1;
        let user = Some(self.dice.random_range(0..=USERS)).filter(|&user| user < USERS);
        let attempt = Attempt {
            task: self.task,
            number: self.attempts,
            user,
            carries,
        };
        let (precondition, refusal) = match condition {
            Condition::Always => (None, None),
            Condition::Absent => (
                Some(precondition::Condition::MustNotExist(true)),
                Some(Action::StoreExists),
            ),
            Condition::Version(expected) => (
                Some(precondition::Condition::Version(expected)),
                Some(mismatch(expected, true)),
            ),
        };
        let request = StoreRequest {
            session_id: row.session_id(),
            provider: row.provider.to_owned(),
            tokens: Some(attempt.tokens()),
            precondition: precondition.map(|condition| Precondition {
                condition: Some(condition),
            }),
            carry_forward_refresh_token: carries,
        };
        let called = Instant::now();
        match answer(&mut self.notes, client.store(request)).await {
            Answer::Ok(response) => {
                let version = response.version;
                let stored = Action::Store {
                    version,
                    user,
                    condition,
                };
                self.note(row, called, stored);
                self.notes.is_content(version, attempt);
                self.seen.insert(row, version);
            }
            Answer::No => self.note(row, called, refusal.expect("nothing to refuse it for")),
            Answer::Unknown => {
                let stored = Action::Store {
                    version: attempt.id(),
                    user,
                    condition,
                };
                self.note_unknown(row, called, stored);
            }
        }
    }

    pub(crate) async fn delete(&mut self, row: RowName) {
        let mut client = self.client.clone();
        let (request, called) = (delete_request(row, None), Instant::now());
        match answer(&mut self.notes, client.delete(request)).await {
            Answer::Ok(response) => {
                let deleted = response.deleted == 1;
                self.note(row, called, Action::Delete { deleted });
            }
            Answer::No => panic!("a delete without a condition has none to fail"),
            Answer::Unknown => self.note_unknown(row, called, Action::DeleteAny),
        }
    }

    pub(crate) async fn delete_version(&mut self, row: RowName) {
        let mut client = self.client.clone();
        let version = self.last_seen(row);
        let (request, called) = (delete_request(row, Some(version)), Instant::now());
        let action = match answer(&mut self.notes, client.delete(request)).await {
            Answer::Ok(response) if response.deleted == 1 => Action::DeleteVersion { version },
            Answer::Ok(_) => Action::Get { version: None },
            Answer::No => mismatch(version, false),
            Answer::Unknown => {
                return self.note_unknown(row, called, Action::DeleteVersion { version });
            }
        };
        self.note(row, called, action);
    }

    /// The answer is the number of deleted rows. If it is neither none nor all, it is unknown which
    /// rows were deleted.
    pub(crate) async fn delete_session(&mut self, session: u32) {
        let mut client = self.client.clone();
        let rows: Vec<_> = RowName::of_session(session).collect();
        let request = DeleteRequest {
            session_id: session_id(session),
            target: Some(Target::AllProviders(true)),
            version: None,
        };
        let called = Instant::now();
        let answer = answer(&mut self.notes, client.delete(request)).await;
        for row in &rows {
            match &answer {
                Answer::Ok(response) => {
                    let action = match response.deleted {
                        0 => Action::Delete { deleted: false },
                        all if all == rows.len() as u64 => Action::Delete { deleted: true },
                        _ => Action::DeleteAny,
                    };
                    self.note(*row, called, action);
                }
                _ => self.note_unknown(*row, called, Action::DeleteAny),
            }
        }
    }

    pub(crate) async fn delete_user(&mut self) {
        let mut client = self.client.clone();
        let user = self.dice.random_range(0..USERS);
        let request = DeleteUserRequest {
            user_id: user_id(user),
        };
        let called = Instant::now();
        let answer = answer(&mut self.notes, client.delete_user(request)).await;
        // It deletes no row twice. A row that is stored again meanwhile stays.
        for row in RowName::all() {
            match &answer {
                Answer::Ok(_) => self.note(row, called, Action::DeleteUser { user }),
                _ => self.note_unknown(row, called, Action::DeleteUser { user }),
            }
        }
    }

    /// Returns the version that this task saw last, or a version that no row has if it saw none.
    fn last_seen(&self, row: RowName) -> u64 {
        self.seen.get(&row).copied().unwrap_or(1)
    }
}

fn delete_request(row: RowName, version: Option<u64>) -> DeleteRequest {
    DeleteRequest {
        session_id: row.session_id(),
        target: Some(Target::Provider(row.provider.to_owned())),
        version,
    }
}

fn mismatch(expected: u64, absent_is_mismatch: bool) -> Action {
    Action::Mismatch {
        expected,
        absent_is_mismatch,
    }
}
