//! One connection, with many calls of one method at once.

use std::{
    collections::VecDeque,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    time::{Duration, Instant},
};

use super::{
    frames, headers,
    place::{Place, Stream},
    refusal,
};
use crate::requests::Method;

const READ: usize = 256 * 1024;
/// How much the server may send before the client opens the window again.
const REOPEN: u32 = 1 << 29;
/// How long the server may take to greet.
const PATIENCE: Duration = Duration::from_secs(20);

/// A connection to a server that speaks gRPC.
///
/// Answers aren't decoded: an answer is right if it has a message that isn't shorter than it must be. A server that
/// refuses a call answers it without a message.
pub(crate) struct Connection {
    stream: Stream,
    shortest_answer: usize,
    /// What was read, and how much of it is yet to be taken apart.
    input: Vec<u8>,
    filled: usize,
    /// What is yet to be sent, and how much of it was.
    output: Vec<u8>,
    sent: usize,
    headers: Vec<u8>,
    has_bearer: bool,
    next: u32,
    flights: Vec<Flight>,
    waiting: VecDeque<(Instant, Vec<u8>)>,
    limits: Limits,
    received: u32,
}

/// What the server has allowed so far.
struct Limits {
    streams: usize,
    window_of_a_stream: u32,
    window: i64,
}

/// A call that was sent, or is about to be.
struct Flight {
    stream: u32,
    begun: Instant,
    received: usize,
}

impl Connection {
    /// Connects, and waits for the server's settings.
    pub(crate) fn open(place: &Place, method: Method) -> Self {
        let stream = Stream::open(place);
        stream.socket().set_read_timeout(Some(PATIENCE)).unwrap();
        let authority = place.address.to_string();
        let mut connection = Self {
            stream,
            shortest_answer: method.shortest_answer(),
            input: vec![0; READ],
            filled: 0,
            output: frames::hello(),
            sent: 0,
            headers: headers::first(method.path(), &authority, place.bearer.as_deref()),
            has_bearer: place.bearer.is_some(),
            next: 1,
            flights: Vec::new(),
            waiting: VecDeque::new(),
            limits: Limits {
                streams: usize::MAX,
                window_of_a_stream: frames::DEFAULT_WINDOW,
                window: frames::DEFAULT_WINDOW.into(),
            },
            received: 0,
        };
        connection.flush();
        // The server's first frame is its settings.
        while connection.output.is_empty() {
            connection.read_once(&mut Vec::new());
        }
        connection.flush();
        connection.socket().set_nonblocking(true).unwrap();
        connection
    }

    pub(super) fn socket(&self) -> &TcpStream {
        self.stream.socket()
    }

    /// Returns how many calls aren't answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.flights.len() + self.waiting.len()
    }

    pub(super) fn is_pending(&self) -> bool {
        !self.output.is_empty() || self.stream.is_pending()
    }

    /// Makes a call. It is sent by the next [`Connection::flush`], or when the server allows it.
    pub(crate) fn call(&mut self, begun: Instant, message: &[u8]) {
        if self.waiting.is_empty() && self.may_send(message.len()) {
            self.send(begun, message);
        } else {
            self.waiting.push_back((begun, message.to_vec()));
        }
    }

    fn may_send(&self, message: usize) -> bool {
        let size = i64::try_from(message + frames::PREFIX).unwrap();
        assert!(size <= self.limits.window_of_a_stream.into());
        self.flights.len() < self.limits.streams && size <= self.limits.window
    }

    fn send(&mut self, begun: Instant, message: &[u8]) {
        frames::call(&mut self.output, self.next, &self.headers, message);
        if self.next == 1 {
            self.headers = headers::further(self.has_bearer);
        }
        self.limits.window -= i64::try_from(message.len() + frames::PREFIX).unwrap();
        self.flights.push(Flight {
            stream: self.next,
            begun,
            received: 0,
        });
        self.next += 2;
    }

    fn send_waiting(&mut self) {
        while let Some((begun, message)) = self.waiting.pop_front() {
            if !self.may_send(message.len()) {
                self.waiting.push_front((begun, message));
                return;
            }
            self.send(begun, &message);
        }
    }

    /// Sends as much as the kernel takes.
    pub(super) fn flush(&mut self) {
        while self.sent < self.output.len() {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(sent) => self.sent += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("can't send: {error}"),
            }
        }
        self.output.clear();
        self.sent = 0;
        match self.stream.flush() {
            Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("can't send: {error}"),
            _ => {}
        }
    }

    /// Reads what has come, and adds when each of the calls had begun that were answered.
    pub(super) fn read(&mut self, answered: &mut Vec<Instant>) {
        while self.read_once(answered) && self.stream.holds_back() {}
    }

    /// Reads once. Returns `false` if nothing has come.
    fn read_once(&mut self, answered: &mut Vec<Instant>) -> bool {
        match self.stream.read(&mut self.input[self.filled..]) {
            Ok(0) => panic!("the server closed the connection"),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
            Err(error) => panic!("can't receive: {error}"),
        }
        let input = std::mem::take(&mut self.input);
        let mut rest = &input[..self.filled];
        while let Some(frame) = frames::take(&mut rest) {
            self.took(&frame, answered);
        }
        let (taken, left) = (self.filled - rest.len(), rest.len());
        self.input = input;
        self.input.copy_within(taken..self.filled, 0);
        self.filled = left;
        if self.received > REOPEN {
            frames::window_update(&mut self.output, self.received);
            self.received = 0;
        }
        if !self.waiting.is_empty() {
            self.send_waiting();
        }
        true
    }

    fn took(&mut self, frame: &frames::Frame<'_>, answered: &mut Vec<Instant>) {
        match frame.kind {
            frames::DATA => {
                self.received += u32::try_from(frame.payload.len()).unwrap();
                let flight = self.flights.iter_mut().find(|f| f.stream == frame.stream);
                flight.expect("a call").received += frame.payload.len();
                assert_eq!(frame.flags & frames::END_STREAM, 0, "no trailers");
            }
            frames::HEADERS if frame.flags & frames::END_STREAM != 0 => {
                let at = self.flights.iter().position(|f| f.stream == frame.stream);
                let flight = self.flights.swap_remove(at.expect("a call"));
                assert!(
                    flight.received >= frames::PREFIX + self.shortest_answer,
                    "a call was refused, or its answer is too short: {} bytes, {}",
                    flight.received,
                    refusal::words(frame.payload),
                );
                answered.push(flight.begun);
            }
            frames::SETTINGS if frame.flags & frames::ACK == 0 => {
                for setting in frames::settings(frame.payload) {
                    match setting {
                        (3, streams) => self.limits.streams = streams as usize,
                        (4, window) => self.limits.window_of_a_stream = window,
                        _ => {}
                    }
                }
                frames::settings_ack(&mut self.output);
            }
            frames::PING if frame.flags & frames::ACK == 0 => {
                frames::pong(&mut self.output, frame.payload);
            }
            frames::WINDOW_UPDATE if frame.stream == 0 => {
                self.limits.window += i64::from(frames::number(frame.payload));
            }
            frames::RST_STREAM | frames::GOAWAY => panic!(
                "the server ended a stream or the connection: {:?}",
                frame.payload
            ),
            _ => {}
        }
    }
}
