//! Learns from Redis what the broker sends for a call, so that the same can be sent without a broker.
//!
//! `MONITOR` shows one call about one row. The ids of that row are then replaced by those of the others.

use std::{
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use redis::Pipeline;
use testkit::redis_server::RedisServer;

use crate::{
    client::{Client, Place},
    options::Options,
    requests::{Method, Requests},
    rows::{self, Key},
};

/// What is sent for each of the requests.
pub(crate) type Commands = Vec<Pipeline>;

/// A command as words.
type Words = Vec<Vec<u8>>;

/// How much later than now a script may begin, at most. The broker allows some seconds.
const LATE: Duration = Duration::from_secs(3600);

/// Returns what the broker at `place` sends to `redis` for each request of `method`.
pub(crate) fn commands(
    place: &Place,
    redis: &RedisServer,
    method: Method,
    options: &Options,
) -> Commands {
    let sessions = options.sizes.sessions;
    let requests = Requests::new(method, 0..sessions);
    let sample = requests.all().last().unwrap();
    // The first calls may be made in another way, until the broker knows the scripts and the providers.
    for _ in 0..3 {
        call(place, method, sample);
    }
    let last = Key {
        session: sessions - 1,
        provider: rows::PROVIDERS - 1,
    };
    let words = about(
        &rows::session_id(last.session),
        &watched(redis, || {
            call(place, method, sample);
        }),
    );
    assert!(!words.is_empty(), "Redis got nothing for {}", method.word());

    let others: Vec<Key> = match method {
        Method::GetAll => (0..sessions)
            .map(|session| Key { session, ..last })
            .collect(),
        Method::Get | Method::GetAccessToken | Method::Store => rows::all(0..sessions).collect(),
    };
    others
        .into_iter()
        .map(|row| for_row(&words, last, row))
        .collect()
}

fn call(place: &Place, method: Method, message: &[u8]) {
    let mut client = Client::connect(place, 1, method);
    client.call(0, Instant::now(), message);
    while client.unanswered() > 0 {
        client.turn(Duration::from_millis(100), &mut Vec::new());
    }
}

/// Returns the lines of `MONITOR` during `work`.
fn watched(redis: &RedisServer, work: impl FnOnce()) -> Vec<(String, Words)> {
    const OVER: &str = "the-call-is-over";
    let mut monitor = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
    monitor.write_all(b"MONITOR\r\n").unwrap();
    let mut lines = BufReader::new(monitor).lines().map(Result::unwrap);
    assert_eq!(lines.next().unwrap(), "+OK");
    work();
    redis.ask::<String>(&["ECHO", OVER]).unwrap();
    lines
        .take_while(|line| !line.contains(OVER))
        .map(|line| parsed(&line))
        .collect()
}

/// Returns who sent a command, and its words: `+1700000000.000000 [0 127.0.0.1:5000] "GET" "key"`.
fn parsed(line: &str) -> (String, Words) {
    let (head, mut rest) = line.split_once("] ").unwrap();
    let sender = head.split_once('[').unwrap().1.to_owned();
    let mut words = Vec::new();
    while let Some(text) = rest.trim_start().strip_prefix('"') {
        let (word, after) = unquoted(text.as_bytes());
        words.push(word);
        rest = &text[after..];
    }
    (sender, words)
}

/// Takes the escapes of a word away, and returns where its closing quotation mark ends.
fn unquoted(text: &[u8]) -> (Vec<u8>, usize) {
    let (mut word, mut at) = (Vec::new(), 0);
    loop {
        match text[at] {
            b'"' => return (word, at + 1),
            b'\\' if text[at + 1] == b'x' => {
                let digits = std::str::from_utf8(&text[at + 2..at + 4]).unwrap();
                word.push(u8::from_str_radix(digits, 16).unwrap());
                at += 4;
            }
            b'\\' => {
                word.push(match text[at + 1] {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'a' => 7,
                    b'b' => 8,
                    plain => plain,
                });
                at += 2;
            }
            plain => {
                word.push(plain);
                at += 1;
            }
        }
    }
}

/// Returns the commands that name the session, and the transaction around them. Scripts' own commands aren't sent.
fn about(session: &str, lines: &[(String, Words)]) -> Vec<Words> {
    let names = |words: &Words| words.iter().any(|word| contains(word, session.as_bytes()));
    let Some((sender, _)) = lines
        .iter()
        .find(|(sender, words)| !sender.ends_with("lua") && names(words))
    else {
        return Vec::new();
    };
    let of_sender = lines.iter().filter(|(other, _)| other == sender);
    let is_bracket = |words: &Words| {
        words[0].eq_ignore_ascii_case(b"MULTI") || words[0].eq_ignore_ascii_case(b"EXEC")
    };
    let kept = of_sender.filter(|(_, words)| names(words) || is_bracket(words));
    kept.map(|(_, words)| words.clone()).collect()
}

/// Returns the commands for another row than that of `last`.
fn for_row(commands: &[Words], last: Key, row: Key) -> Pipeline {
    let ids = [
        (
            rows::session_id(last.session),
            rows::session_id(row.session),
        ),
        (rows::user_id(last.session), rows::user_id(row.session)),
    ];
    let mut ids = ids.to_vec();
    if row.provider != last.provider {
        ids.push((
            rows::provider_name(last.provider),
            rows::provider_name(row.provider),
        ));
    }
    let mut pipeline = Pipeline::new();
    for words in commands {
        let mut words = words.iter().map(|word| timely(replaced(word, &ids)));
        let name = String::from_utf8(words.next().unwrap()).unwrap();
        let command = pipeline.cmd(&name);
        for word in words {
            command.arg(word);
        }
    }
    pipeline
}

fn replaced(word: &[u8], ids: &[(String, String)]) -> Vec<u8> {
    let mut word = word.to_vec();
    for (old, new) in ids {
        if contains(&word, old.as_bytes()) {
            word = String::from_utf8(word)
                .unwrap()
                .replace(old, new)
                .into_bytes();
        }
    }
    word
}

/// Returns a later time, if the word is the latest time at which a script may begin, in µs.
fn timely(word: Vec<u8>) -> Vec<u8> {
    let micros = |time: SystemTime| time.duration_since(UNIX_EPOCH).unwrap().as_micros();
    let now = SystemTime::now();
    let text = std::str::from_utf8(&word).unwrap_or_default();
    match text.parse::<u128>() {
        Ok(time) if (micros(now)..micros(now + LATE)).contains(&time) => {
            micros(now + LATE).to_string().into_bytes()
        }
        _ => word,
    }
}

fn contains(word: &[u8], part: &[u8]) -> bool {
    word.windows(part.len()).any(|window| window == part)
}
