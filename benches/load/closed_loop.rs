//! Closed loop: so many callers, each with one call at a time. It shows how much a server can do.

use std::{
    ops::Range,
    time::{Duration, Instant},
};

use crate::{
    client::{Client, Place},
    process::Process,
    requests::{Method, Requests},
    window::{Sample, Window},
};

/// Measures how a server does with these callers, spread over the connections.
pub(crate) fn measure(
    place: &Place,
    callers: usize,
    connections: usize,
    requests: &mut Requests,
    span: Duration,
    watched: &[Process],
) -> Sample {
    let mut client = Client::connect(place, connections, requests.method);
    let mut window = Window::soon(span, watched);
    let begun = Instant::now();
    for caller in 0..callers {
        client.call(caller % connections, begun, requests.any());
    }
    let mut answers = Vec::new();
    while client.unanswered() > 0 {
        let over = window.look(Instant::now());
        client.turn(Duration::from_millis(5), &mut answers);
        for answer in answers.drain(..) {
            window.count_ended(answer.begun, answer.ended);
            if !over {
                client.call(answer.connection, answer.ended, requests.any());
            }
        }
    }
    window.close()
}

/// Stores the rows of these sessions.
pub(crate) fn fill(place: &Place, sessions: Range<u32>) {
    // A part at a time, because the encoded rows would take more memory than the rows in the store.
    let part = 1_000;
    for begin in sessions.clone().step_by(part) {
        let end = sessions.end.min(begin + part as u32);
        each(place, &Requests::new(Method::Store, begin..end));
    }
}

/// Makes each call once, with many callers.
pub(crate) fn each(place: &Place, requests: &Requests) {
    const CALLERS: usize = 64;
    const CONNECTIONS: usize = 4;
    let mut client = Client::connect(place, CONNECTIONS, requests.method);
    let mut left = requests.all().iter();
    let begun = Instant::now();
    for (caller, message) in left.by_ref().take(CALLERS).enumerate() {
        client.call(caller % CONNECTIONS, begun, message);
    }
    let mut answers = Vec::new();
    while client.unanswered() > 0 {
        client.turn(Duration::from_millis(5), &mut answers);
        for answer in answers.drain(..) {
            if let Some(message) = left.next() {
                client.call(answer.connection, begun, message);
            }
        }
    }
}
