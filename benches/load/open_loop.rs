//! Open loop: calls begin at a fixed rate, however long the answers take. It shows how long callers wait.
//!
//! The latency of a call counts from when it was to begin. So a server that stands still for a moment has made all calls
//! wait that were to begin meanwhile, and not only those that it was already busy with.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use crate::{
    client::{Client, Place},
    process::Process,
    requests::Requests,
    window::{Sample, Window},
};

/// Measures how long calls take when so many begin each second, over the connections in turn.
pub(crate) fn measure(
    place: &Place,
    calls_per_second: f64,
    connections: usize,
    requests: &mut Requests,
    span: Duration,
    watched: &[Process],
) -> Sample {
    // The kernel may wake the client this much later than it asks, in ns. It is 50 µs by default.
    rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).ok();
    let mut client = Client::connect(place, connections, requests.method);
    let gap = Duration::from_secs_f64(1.0 / calls_per_second);
    let mut window = Window::soon(span, watched);
    let (mut next, mut connection) = (Instant::now(), 0);
    let mut answers = Vec::new();
    loop {
        let now = Instant::now();
        window.look(now);
        while next <= now && next < window.to {
            client.call(connection, next, requests.any());
            connection = (connection + 1) % client.connections();
            next += gap;
        }
        if next >= window.to && client.unanswered() == 0 && window.look(now) {
            return window.close();
        }
        let until = if next < window.to {
            next
        } else {
            now + Duration::from_millis(5)
        };
        client.turn(until.saturating_duration_since(now), &mut answers);
        for answer in answers.drain(..) {
            window.count_begun(answer.begun, answer.ended);
        }
    }
}
