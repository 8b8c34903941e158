//! How events are spelled: one JSON object a line, in ASCII.

use std::{io::Write, time::SystemTime};

use super::{
    Decision, Event, Hash,
    chain::Chain,
    crowd::Refusals,
    event::{Kind, RowAccess},
};

/// The most characters of a text that a caller has chosen.
const LONGEST: usize = 128;

/// What the writer itself has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// The process began to write.
    Start,
    /// The lines go on in another file. `after` is the last line that was written elsewhere, if that isn't the one that the
    /// chain names.
    File { after: Option<Hash> },
    /// Something is missing before this line.
    Gap {
        /// Lines that weren't written whole.
        torn: Vec<Hash>,
        /// How many events were lost.
        lost: u64,
        /// How many calls were refused because their events couldn't be written.
        refused: u64,
    },
    /// Calls were denied, and these denials have no lines of their own.
    Denied(Refusals),
    /// The process ended in order.
    Stop,
}

/// Writes lines of one process.
#[derive(Debug)]
pub(super) struct Spelling {
    /// A random number of this run, in hexadecimal.
    pub instance: String,
}

impl Spelling {
    /// Writes the line of a note that follows `chain`, and its line break. Returns the chain after it.
    pub fn note(&self, out: &mut Vec<u8>, chain: Chain, note: &Note) -> Chain {
        let begin = self.begin(out, chain, SystemTime::now());
        match note {
            Note::Start => {
                field(out, "event", "start");
                field(out, "version", env!("CARGO_PKG_VERSION"));
            }
            Note::File { after } => {
                field(out, "event", "file");
                if let Some(after) = after {
                    hash(out, "after", &after.hex());
                }
            }
            Note::Gap {
                torn,
                lost,
                refused,
            } => {
                field(out, "event", "gap");
                number(out, "lost", *lost);
                number(out, "refused", *refused);
                key(out, "torn");
                list(out, torn, |out, torn| quoted(out, &torn.hex()));
            }
            Note::Denied(refusals) => {
                match &refusals.of {
                    None => field(out, "event", "unknown-callers"),
                    Some(known) => {
                        field(out, "event", "denied-calls");
                        field(out, "tenant", known.tenant.as_str());
                        field(out, "caller", &known.caller);
                    }
                }
                let since = humantime::format_rfc3339_micros(refusals.since);
                key(out, "since");
                // Writing to a vector doesn't fail.
                write!(out, "\"{since}\"").ok();
                field(out, "decision", "denied");
                number(out, "count", refusals.total());
                let counts: Vec<_> = refusals.counts.iter().collect();
                key(out, "calls");
                list(out, &counts, |out, ((rpc, reason), count)| {
                    out.extend_from_slice(b"{\"rpc\":");
                    text(out, rpc);
                    field(out, "reason", reason);
                    number(out, "count", **count);
                    out.push(b'}');
                });
            }
            Note::Stop => field(out, "event", "stop"),
        }
        end(out, begin, chain)
    }

    /// Writes the line of an event, like [`Spelling::note`]. `is_withheld`: its answer didn't reach the caller.
    pub fn event(
        &self,
        out: &mut Vec<u8>,
        chain: Chain,
        event: &Event,
        is_withheld: bool,
    ) -> Chain {
        // Without `..`: a new field doesn't compile until it is spelled here.
        let Event {
            time,
            kind,
            tenant,
            caller,
            known_by,
            shown,
            peer,
            rpc,
            decision,
            code,
            reason,
            rows,
            count,
            session,
            user,
        } = event;
        let begin = self.begin(out, chain, *time);
        field(out, "event", kind.name());
        if let Some(rpc) = rpc {
            field(out, "rpc", rpc);
        }
        if let Some(tenant) = tenant {
            field(out, "tenant", tenant.as_str());
        }
        if let Some(caller) = caller {
            field(out, "caller", caller);
        }
        if let Some(known_by) = known_by {
            field(out, "by", known_by);
        }
        if let Some(shown) = shown {
            field(out, "shown", shown);
        }
        if let Some(peer) = peer {
            key(out, "peer");
            // Writing to a vector doesn't fail.
            write!(out, "\"{peer}\"").ok();
        }
        match decision {
            Some(Decision::Allowed) => field(out, "decision", "allowed"),
            Some(Decision::Denied(why)) => {
                field(out, "decision", "denied");
                if let Some(why) = why {
                    field(out, "why", why);
                }
            }
            None => {}
        }
        match kind {
            Kind::Call => field(out, "code", code),
            Kind::AnotherUser => {}
            Kind::Policy(of_file) => hash(out, "sha256", &of_file.hex()),
        }
        if let Some(reason) = reason {
            field(out, "reason", reason);
        }
        if let Some(session) = session {
            hash(out, "session", &session.hex());
        }
        if let Some(user) = user {
            hash(out, "user", &user.hex());
        }
        if let Some(count) = count {
            number(out, "count", *count);
        }
        if !rows.is_empty() {
            let is_served = *code == "OK";
            key(out, "rows");
            list(out, rows, |out, access| row(out, access, is_served));
        }
        if is_withheld {
            field(out, "answer", "withheld");
        }
        end(out, begin, chain)
    }

    fn begin(&self, out: &mut Vec<u8>, chain: Chain, time: SystemTime) -> usize {
        let begin = out.len();
        let time = humantime::format_rfc3339_micros(time);
        // Writing to a vector doesn't fail.
        write!(out, "{{\"seq\":{},\"time\":\"{time}\"", chain.seq + 1).ok();
        field(out, "instance", &self.instance);
        begin
    }
}

fn end(out: &mut Vec<u8>, begin: usize, chain: Chain) -> Chain {
    hash(out, "prev", &chain.last.hex());
    out.push(b'}');
    let line = Hash::of(&out[begin..]);
    out.push(b'\n');
    chain.after(line)
}

fn row(out: &mut Vec<u8>, access: &RowAccess, is_served: bool) {
    out.extend_from_slice(b"{\"provider\":");
    text(out, access.provider.as_str());
    if let Some(row) = &access.row {
        hash(out, "row", &row.hex());
    }
    if let Some(reason) = access.reason {
        field(out, "reason", reason);
    }
    if is_served && !access.tokens.is_empty() {
        let kinds: Vec<_> = access.tokens.names().collect();
        key(out, "tokens");
        list(out, &kinds, |out, kind| quoted(out, kind.as_bytes()));
    }
    out.push(b'}');
}

fn list<T>(out: &mut Vec<u8>, items: &[T], write: impl Fn(&mut Vec<u8>, &T)) {
    out.push(b'[');
    for (at, item) in items.iter().enumerate() {
        if at > 0 {
            out.push(b',');
        }
        write(out, item);
    }
    out.push(b']');
}

fn key(out: &mut Vec<u8>, name: &str) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
}

fn quoted(out: &mut Vec<u8>, plain: &[u8]) {
    out.push(b'"');
    out.extend_from_slice(plain);
    out.push(b'"');
}

fn hash(out: &mut Vec<u8>, name: &str, hex: &[u8; 64]) {
    key(out, name);
    quoted(out, hex);
}

fn number(out: &mut Vec<u8>, name: &str, number: u64) {
    key(out, name);
    // Writing to a vector doesn't fail.
    write!(out, "{number}").ok();
}

fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    key(out, name);
    text(out, value);
}

/// Writes a text that a caller may have chosen. Whatever isn't plain ASCII is escaped, so that it can't confuse who reads
/// the file, and a long text is cut.
fn text(out: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\');
    if text.len() <= LONGEST && text.bytes().all(is_plain) {
        quoted(out, text.as_bytes());
        return;
    }
    out.push(b'"');
    for (at, c) in text.chars().enumerate() {
        if at == LONGEST {
            out.extend_from_slice(b"...");
            break;
        }
        match c {
            '"' | '\\' => out.extend_from_slice(&[b'\\', c as u8]),
            ' '..='~' => out.push(c as u8),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    // Writing to a vector doesn't fail.
                    write!(out, "\\u{unit:04x}").ok();
                }
            }
        }
    }
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::{
        audit::{Names, TokenKinds},
        types::{Address, ProviderName, SessionId},
    };

    fn spelled(event: &Event, is_withheld: bool) -> (Value, String) {
        let spelling = Spelling {
            instance: "1a".to_owned(),
        };
        let mut out = Vec::new();
        let chain = Chain {
            seq: 8,
            last: Hash::of(b"before"),
        };
        let after = spelling.event(&mut out, chain, event, is_withheld);
        let line = out.strip_suffix(b"\n").unwrap();
        assert_eq!((after.seq, after.last), (9, Hash::of(line)));
        let text = String::from_utf8(line.to_vec()).unwrap();
        (serde_json::from_str(&text).unwrap(), text)
    }

    fn event(provider: &str) -> Event {
        let tenant = "a:b".parse().unwrap();
        let provider = ProviderName::new(provider).unwrap();
        let session = SessionId::new("s").unwrap();
        let row = RowAccess {
            row: Some(Names::new(&[1; 32]).row(&tenant, &session, &provider)),
            provider,
            tokens: TokenKinds {
                access: true,
                refresh: false,
                id: true,
            },
            reason: None,
        };
        let mut event = Event::new(Kind::Call, Some(tenant.into()), "OK");
        event.caller = Some("vmcp".to_owned());
        event.known_by = Some("bearer");
        event.peer = Some(Address::Tcp("[::1]:80".parse().unwrap()));
        event.rpc = Some("TokenBroker/Get");
        event.decision = Some(Decision::Allowed);
        event.rows = vec![row];
        event
    }

    #[test]
    fn a_line_has_all_that_is_known() {
        let event = event("github");
        let (line, _) = spelled(&event, false);
        for (field, value) in [
            ("instance", "1a"),
            ("event", "call"),
            ("rpc", "TokenBroker/Get"),
            ("tenant", "a:b"),
            ("caller", "vmcp"),
            ("by", "bearer"),
            ("peer", "[::1]:80"),
            ("decision", "allowed"),
            ("code", "OK"),
            ("prev", &Hash::of(b"before").to_string()),
        ] {
            assert_eq!(line[field], value, "{field}");
        }
        assert_eq!(line["seq"], 9);
        assert!(line["time"].as_str().unwrap().ends_with('Z'));
        assert_eq!(line["rows"][0]["provider"], "github");
        assert_eq!(
            line["rows"][0]["tokens"],
            serde_json::json!(["access", "id"])
        );
        let row = event.rows[0].row.unwrap();
        assert_eq!(line["rows"][0]["row"], row.to_string());
        assert!(line.get("answer").is_none());
        assert_eq!(spelled(&event, true).0["answer"], "withheld");
    }

    #[test]
    fn an_error_hands_out_no_tokens() {
        let mut event = event("github");
        event.code = "PERMISSION_DENIED";
        event.reason = Some("NOT_ALLOWED");
        event.decision = Some(Decision::Denied(Some("not the caller's")));
        let (line, _) = spelled(&event, false);
        assert!(line["rows"][0].get("tokens").is_none());
        assert_eq!(line["reason"], "NOT_ALLOWED");
        assert_eq!(
            (&line["decision"], &line["why"]),
            (&"denied".into(), &"not the caller's".into())
        );
    }

    #[test]
    fn what_a_caller_made_up_neither_breaks_a_line_nor_fills_the_file() {
        let odd = "\",\"caller\":\"root\\ \u{202e}😀";
        let (line, text) = spelled(&event(odd), false);
        assert_eq!(line["rows"][0]["provider"], odd);
        assert_eq!(line["caller"], "vmcp");
        assert!(
            text.bytes().all(|byte| (b' '..=b'~').contains(&byte)),
            "{text}"
        );
        let (line, _) = spelled(&event(&"x".repeat(500)), false);
        let cut = line["rows"][0]["provider"].as_str().unwrap();
        assert_eq!(cut, format!("{}...", "x".repeat(LONGEST)));
    }
}
