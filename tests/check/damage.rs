//! The kinds of damage that the tests plant. Each has sessions and users of its own, so that one tenant can have
//! all of them.

use super::pending::{authorizations, pending};
use testkit::{broker::Broker, redis_tenant::RedisTenant, rows::*};
use token_broker::store::redis::maintenance::check::FindingKind;

/// What is broken, and what a check should report.
pub struct Damage {
    /// The name of the damage. The names of its sessions and users contain it.
    pub name: &'static str,
    pub kind: FindingKind,
    /// The damaged key. `$` stands for the name.
    key: &'static str,
    /// The index in the finding, if it has one.
    index: &'static str,
    /// The commands that damage sound data, one per line. `@` stands for the tenant's prefix.
    commands: &'static str,
}

impl Damage {
    /// Stores sound rows and breaks them.
    ///
    /// The user `$u` has the sessions `$a` and `$b`, and the user `$v` has the session `$c`. Each session has two
    /// rows. The client `$c` has the pending authorization `$x`.
    pub async fn plant(&self, tenant: &RedisTenant) {
        self.store_sound(&tenant.broker()).await;
        let (state, client) = (format!("{}x", self.name), format!("{}c", self.name));
        authorizations(tenant)
            .create(pending(&state, &client))
            .await
            .unwrap();
        for command in self.commands.lines().map(str::trim) {
            let words: Vec<String> = command
                .split_whitespace()
                .map(|word| self.spell(tenant, word))
                .collect();
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            tenant.run::<redis::Value>(&words);
        }
    }

    async fn store_sound<S: token_broker::store::Store>(&self, broker: &Broker<S>) {
        for (session, user) in [("a", "u"), ("b", "u"), ("c", "v")] {
            for provider in ["p", "q"] {
                let key = key(&format!("{}{session}", self.name), provider);
                let row = row(&format!("{}{user}", self.name), "at");
                broker.put(&key, &row).await;
            }
        }
    }

    /// Returns the expected finding: kind, key and index.
    pub fn due(&self, tenant: &RedisTenant) -> (FindingKind, String, Option<String>) {
        let index = (!self.index.is_empty()).then(|| self.spell(tenant, self.index));
        (self.kind, self.spell(tenant, self.key), index)
    }

    fn spell(&self, tenant: &RedisTenant, text: &str) -> String {
        text.replace('@', &tenant.prefix()).replace('$', self.name)
    }
}

/// All damages that one or two commands can cause.
pub const DAMAGES: &[Damage] = &[
    Damage {
        name: "row-not-in-its-session",
        kind: FindingKind::MissingInSessionIndex,
        key: "@upstream:$a:p",
        index: "@upstream:idx:$a",
        commands: "SREM @upstream:idx:$a @upstream:$a:p",
    },
    Damage {
        name: "session-index-gone",
        kind: FindingKind::MissingInSessionIndex,
        key: "@upstream:$c:p",
        index: "@upstream:idx:$c",
        commands: "DEL @upstream:$c:q\nSREM @user:upstream:$v @upstream:$c:q\nDEL @upstream:idx:$c",
    },
    Damage {
        name: "row-not-at-its-user",
        kind: FindingKind::MissingInUserIndex,
        key: "@upstream:$a:p",
        index: "@user:upstream:$u",
        commands: "SREM @user:upstream:$u @upstream:$a:p",
    },
    Damage {
        name: "session-index-ends-early",
        kind: FindingKind::SessionIndexEndsEarly,
        key: "@upstream:$a:p",
        index: "@upstream:idx:$a",
        commands: "PEXPIRE @upstream:$a:p 7000000000\nPERSIST @user:upstream:$u",
    },
    Damage {
        name: "session-index-ends-before-an-endless-row",
        kind: FindingKind::SessionIndexEndsEarly,
        key: "@upstream:$a:p",
        index: "@upstream:idx:$a",
        commands: "PERSIST @upstream:$a:p\nPERSIST @user:upstream:$u",
    },
    Damage {
        name: "user-index-ends-early",
        kind: FindingKind::UserIndexEndsEarly,
        key: "@upstream:$a:p",
        index: "@user:upstream:$u",
        commands: "PEXPIRE @upstream:$a:p 7000000000\nPERSIST @upstream:idx:$a",
    },
    Damage {
        name: "user-index-ends-before-an-endless-row",
        kind: FindingKind::UserIndexEndsEarly,
        key: "@upstream:$a:p",
        index: "@user:upstream:$u",
        commands: "PERSIST @upstream:$a:p\nPERSIST @upstream:idx:$a",
    },
    Damage {
        name: "row-in-another-session",
        kind: FindingKind::RowOfAnotherSession,
        key: "@upstream:$b:p",
        index: "@upstream:idx:$a",
        commands: "SADD @upstream:idx:$a @upstream:$b:p",
    },
    Damage {
        name: "row-at-another-user",
        kind: FindingKind::RowOfAnotherUser,
        key: "@upstream:$c:p",
        index: "@user:upstream:$u",
        commands: "SADD @user:upstream:$u @upstream:$c:p",
    },
    Damage {
        name: "row-of-nobody-at-a-user",
        kind: FindingKind::RowOfAnotherUser,
        key: "@upstream:$c:p",
        index: "@user:upstream:$v",
        commands: "SET @upstream:$c:p {\"access_token\":\"x\"} KEEPTTL",
    },
    Damage {
        name: "row-of-another-tenant-in-a-session",
        kind: FindingKind::ForeignMember,
        key: "thv:auth:{other:tenant}:upstream:$a:p",
        index: "@upstream:idx:$a",
        commands: "SADD @upstream:idx:$a thv:auth:{other:tenant}:upstream:$a:p",
    },
    Damage {
        name: "garbage-at-a-user",
        kind: FindingKind::ForeignMember,
        key: "garbage",
        index: "@user:upstream:$u",
        commands: "SADD @user:upstream:$u garbage",
    },
    Damage {
        name: "no-row-at-a-user",
        kind: FindingKind::ForeignMember,
        key: "@user:$u",
        index: "@user:upstream:$u",
        commands: "SADD @user:upstream:$u @user:$u",
    },
    Damage {
        name: "misspelled-row-in-a-session",
        kind: FindingKind::DanglingMember,
        key: "@upstream:%61:p",
        index: "@upstream:idx:$a",
        commands: "SADD @upstream:idx:$a @upstream:%61:p",
    },
    Damage {
        name: "misspelled-no-row-at-a-user",
        kind: FindingKind::ForeignMember,
        key: "@upstream:%61$:p",
        index: "@user:upstream:$u",
        commands: "HSET @upstream:%61$:p a b\nSADD @user:upstream:$u @upstream:%61$:p",
    },
    Damage {
        name: "no-identity-in-the-set-of-identities",
        kind: FindingKind::ForeignMember,
        key: "@upstream:$a:p",
        index: "@user:providers:$u",
        commands: "SADD @user:providers:$u @upstream:$a:p",
    },
    Damage {
        name: "identity-of-another-user",
        kind: FindingKind::IdentityOfAnotherUser,
        key: "@provider:1:p:$",
        index: "@user:providers:$u",
        commands:
            "SET @user:$v {}\nSET @provider:1:p:$ {\"user_id\":\"$v\"}\nSADD @user:providers:$v @provider:1:p:$
                   SADD @user:providers:$u @provider:1:p:$",
    },
    Damage {
        name: "dangling-in-a-session",
        kind: FindingKind::DanglingMember,
        key: "@upstream:$a:gone",
        index: "@upstream:idx:$a",
        commands: "SADD @upstream:idx:$a @upstream:$a:gone",
    },
    Damage {
        name: "dangling-at-a-user",
        kind: FindingKind::DanglingMember,
        key: "@upstream:$gone:p",
        index: "@user:upstream:$u",
        commands: "SADD @user:upstream:$u @upstream:$gone:p",
    },
    Damage {
        name: "dangling-identity",
        kind: FindingKind::DanglingMember,
        key: "@provider:1:p:$gone",
        index: "@user:providers:$u",
        commands: "SET @user:$u {}\nSET @provider:1:p:$ {\"user_id\":\"$u\"}
                   SADD @user:providers:$u @provider:1:p:$ @provider:1:p:$gone",
    },
    Damage {
        name: "session-index-without-rows",
        kind: FindingKind::IndexWithoutRows,
        key: "@upstream:idx:$gone",
        index: "",
        commands: "SADD @upstream:idx:$gone @upstream:$gone:p @upstream:$gone:q",
    },
    Damage {
        name: "user-index-without-rows",
        kind: FindingKind::IndexWithoutRows,
        key: "@user:upstream:$gone",
        index: "",
        commands: "SADD @user:upstream:$gone @upstream:$gone:p",
    },
    Damage {
        name: "session-index-of-another-type",
        kind: FindingKind::IndexOfWrongType,
        key: "@upstream:idx:$x",
        index: "",
        commands: "SET @upstream:idx:$x x",
    },
    Damage {
        name: "user-index-of-another-type",
        kind: FindingKind::IndexOfWrongType,
        key: "@user:upstream:$x",
        index: "",
        commands: "RPUSH @user:upstream:$x @upstream:$a:p",
    },
    Damage {
        name: "row-cut-short",
        kind: FindingKind::UnreadableRow,
        key: "@upstream:$a:p",
        index: "",
        commands: "SET @upstream:$a:p {\"user_id\":\"$u\",\"access KEEPTTL",
    },
    Damage {
        name: "row-of-another-type",
        kind: FindingKind::UnreadableRow,
        key: "@upstream:$x:p",
        index: "",
        commands: "HSET @upstream:$x:p a b",
    },
    Damage {
        name: "identity-not-in-its-set",
        kind: FindingKind::MissingInIdentitySet,
        key: "@provider:1:p:$",
        index: "@user:providers:$u",
        commands: "SET @user:$u {}
                   SET @provider:1:p:$ {\"user_id\":\"$u\"}
                   SET @provider:1:q:$ {\"user_id\":\"$u\"}
                   SADD @user:providers:$u @provider:1:q:$",
    },
    Damage {
        name: "user-without-a-set",
        kind: FindingKind::MissingInIdentitySet,
        key: "@provider:1:p:$",
        index: "@user:providers:$u",
        commands: "SET @user:$u {}\nSET @provider:1:p:$ {\"user_id\":\"$u\"}",
    },
    Damage {
        name: "identity-without-user",
        kind: FindingKind::IdentityWithoutUser,
        key: "@provider:1:p:$",
        index: "",
        commands: "SET @provider:1:p:$ {\"user_id\":\"$u\"}\nSADD @user:providers:$u @provider:1:p:$",
    },
    Damage {
        name: "identity-cut-short",
        kind: FindingKind::UnreadableIdentity,
        key: "@provider:1:p:$",
        index: "",
        commands: "SET @provider:1:p:$ {\"user_id\":\"$u",
    },
    Damage {
        name: "identity-of-another-type",
        kind: FindingKind::UnreadableIdentity,
        key: "@provider:1:p:$",
        index: "",
        commands: "HSET @provider:1:p:$ user_id $u",
    },
    Damage {
        name: "user-cut-short",
        kind: FindingKind::UnreadableUser,
        key: "@user:$u",
        index: "",
        commands: "SET @user:$u {\"id\":",
    },
    Damage {
        name: "user-of-another-type",
        kind: FindingKind::UnreadableUser,
        key: "@user:$u",
        index: "",
        commands: "HSET @user:$u id $u",
    },
    Damage {
        name: "record-of-nobody-knows-what",
        kind: FindingKind::UnreadableRecord,
        key: "@broker:refresh:$a:p",
        index: "",
        commands: "HSET @broker:refresh:$a:p change x",
    },
    Damage {
        name: "record-of-another-type",
        kind: FindingKind::UnreadableRecord,
        key: "@broker:refresh:$a:q",
        index: "",
        commands: "SET @broker:refresh:$a:q x",
    },
    Damage {
        name: "row-of-another-provider",
        kind: FindingKind::RowOfAnotherProvider,
        key: "@upstream:$a:p",
        index: "",
        commands: "SET @upstream:$a:p {\"provider_id\":\"q\",\"user_id\":\"$u\"} KEEPTTL",
    },
    Damage {
        name: "authorization-not-counted",
        kind: FindingKind::MissingInPendingSet,
        key: "@pending:$x",
        index: "@broker:pending",
        commands: "ZREM @broker:pending @pending:$x",
    },
    Damage {
        name: "authorization-counted-for-too-short-a-time",
        kind: FindingKind::MissingInPendingSet,
        key: "@pending:$x",
        index: "@broker:pending:$c",
        commands: "ZADD @broker:pending:$c 5 @pending:$x",
    },
    Damage {
        name: "set-of-a-client-gone",
        kind: FindingKind::MissingInPendingSet,
        key: "@pending:$x",
        index: "@broker:pending:$c",
        commands: "DEL @broker:pending:$c",
    },
    Damage {
        name: "set-of-a-client-ends-early",
        kind: FindingKind::PendingSetEndsEarly,
        key: "@pending:$x",
        index: "@broker:pending:$c",
        commands: "PEXPIRE @broker:pending:$c 60000",
    },
    Damage {
        name: "place-of-nobody",
        kind: FindingKind::PlaceOfNobody,
        key: "@pending:$gone",
        index: "@broker:pending",
        commands: "ZADD @broker:pending 99999999999999 @pending:$gone",
    },
    Damage {
        name: "place-of-who-was-taken",
        kind: FindingKind::PlaceOfNobody,
        key: "@pending:$y",
        index: "@broker:pending:$c",
        commands: "SET @pending:$y {\"taken\":\"00\"} EX 600
                   ZADD @broker:pending:$c 99999999999999 @pending:$y",
    },
    Damage {
        name: "place-at-another-client",
        kind: FindingKind::PlaceOfNobody,
        key: "@pending:$x",
        index: "@broker:pending:$d",
        commands: "ZADD @broker:pending:$d 99999999999999 @pending:$x",
    },
    Damage {
        name: "place-that-is-over",
        kind: FindingKind::DanglingMember,
        key: "@pending:$gone",
        index: "@broker:pending:$c",
        commands: "ZADD @broker:pending:$c 5 @pending:$gone",
    },
    Damage {
        name: "place-of-garbage",
        kind: FindingKind::ForeignMember,
        key: "garbage",
        index: "@broker:pending:$c",
        commands: "ZADD @broker:pending:$c 99999999999999 garbage",
    },
    Damage {
        name: "places-of-another-type",
        kind: FindingKind::PendingSetOfWrongType,
        key: "@broker:pending:$z",
        index: "",
        commands: "SADD @broker:pending:$z @pending:$x",
    },
    Damage {
        name: "sizes-of-another-type",
        kind: FindingKind::PendingSetOfWrongType,
        key: "@broker:pending-bytes:$z",
        index: "",
        commands: "SADD @broker:pending-bytes:$z 1",
    },
    Damage {
        name: "authorization-without-end",
        kind: FindingKind::AuthorizationWithoutEnd,
        key: "@pending:$x",
        index: "",
        commands: "PERSIST @pending:$x",
    },
    Damage {
        name: "taken-without-end",
        kind: FindingKind::AuthorizationWithoutEnd,
        key: "@pending:$y",
        index: "",
        commands: "SET @pending:$y {\"taken\":\"00\"}",
    },
    Damage {
        name: "authorization-cut-short",
        kind: FindingKind::UnreadableAuthorization,
        key: "@pending:$x",
        index: "",
        commands: "SET @pending:$x {\"broker\":\"00\" KEEPTTL",
    },
];
