//! The client of all servers: one thread, and no more work a call than to write it and to count its answer.
//!
//! A client that costs a third of the machine hides what the servers cost. So this one speaks just as much HTTP/2 as
//! calls need, and sends messages that were encoded before.

mod connection;
mod frames;
mod headers;
mod place;
mod refusal;

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use connection::Connection;
pub(crate) use place::Place;
use rustix::{
    event::{PollFd, PollFlags, Timespec, epoll, poll},
    io::Errno,
};

use crate::requests::Method;

/// The connections of a client.
pub(crate) struct Client {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    ready: Vec<epoll::Event>,
    answered: Vec<Instant>,
}

/// An answer that has come.
pub(crate) struct Answer {
    /// The number of the connection.
    pub(crate) connection: usize,
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
}

impl Client {
    pub(crate) fn connect(place: &Place, connections: usize, method: Method) -> Self {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        let connections: Vec<_> = (0..connections)
            .map(|_| Connection::open(place, method))
            .collect();
        for (number, connection) in connections.iter().enumerate() {
            let data = epoll::EventData::new_u64(number as u64);
            epoll::add(&epoll, connection.socket(), data, epoll::EventFlags::IN).unwrap();
        }
        Self {
            epoll,
            ready: Vec::with_capacity(connections.len()),
            connections,
            answered: Vec::new(),
        }
    }

    pub(crate) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Returns how many calls aren't answered yet.
    pub(crate) fn unanswered(&self) -> usize {
        self.connections.iter().map(Connection::unanswered).sum()
    }

    /// Makes a call, which the next turn sends. Its latency counts from `begun`.
    pub(crate) fn call(&mut self, connection: usize, begun: Instant, message: &[u8]) {
        self.connections[connection].call(begun, message);
    }

    /// Sends what is to be sent, waits for answers, `wait` at most, and adds those that have come.
    pub(crate) fn turn(&mut self, wait: Duration, answers: &mut Vec<Answer>) {
        /// How soon to try again when the kernel takes no more.
        const RETRY: Duration = Duration::from_millis(1);
        let mut wait = wait;
        for connection in &mut self.connections {
            connection.flush();
            if connection.is_pending() {
                wait = wait.min(RETRY);
            }
        }
        self.wait(wait);
        for event in &self.ready {
            let number = usize::try_from(event.data.u64()).unwrap();
            self.connections[number].read(&mut self.answered);
            let ended = Instant::now();
            answers.extend(self.answered.drain(..).map(|begun| Answer {
                connection: number,
                begun,
                ended,
            }));
        }
    }

    fn wait(&mut self, wait: Duration) {
        self.ready.clear();
        let timeout = Timespec::try_from(wait).unwrap();
        // `poll` waits to the microsecond. What `epoll` does with less than a millisecond depends on the kernel.
        if wait < Duration::from_millis(1) {
            let mut fds = [PollFd::new(&self.epoll, PollFlags::IN)];
            match poll(&mut fds, Some(&timeout)) {
                Ok(0) | Err(Errno::INTR) => return,
                waited => waited.unwrap(),
            };
        }
        let room = rustix::buffer::spare_capacity(&mut self.ready);
        match epoll::wait(&self.epoll, room, Some(&timeout)) {
            Err(Errno::INTR) => {}
            waited => drop(waited.unwrap()),
        }
    }
}
