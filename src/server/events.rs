//! What may happen to a connection apart from its calls: it grows old, is silent, has to make room, or the broker stops.

use std::{
    mem,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use tokio::time::sleep;

use super::{
    activity::Activity,
    socket::{Outbox, Silence},
};
use crate::{
    config::ServerOptions,
    rpc::Stopping,
    tls::{End, Standing},
};

/// How much the ages of connections differ, so that clients don't all reconnect at once.
const JITTER: std::ops::RangeInclusive<f64> = 0.9..=1.1;
/// How long a client has to go that was asked to make room, and calls nothing. It is much more than a way to the
/// client and back, and less than probes wait.
const LEAVE: Duration = Duration::from_millis(500);

/// The events of a connection. Those that nothing has happened to cost nothing while its calls go on.
pub(super) struct Events {
    options: ServerOptions,
    activity: Arc<Activity>,
    /// Whether the client was told to go away.
    going: bool,
    awaited: FuturesUnordered<BoxFuture<'static, Event>>,
}

/// What a connection has to do.
pub(super) enum Order {
    /// Tell the client to make its further calls elsewhere.
    GoAway,
    /// End, for this reason.
    Close(&'static str),
}

enum Event {
    GrownOld,
    Stopping,
    AskedToLeave,
    /// A client that was asked to make room has had time to go.
    TimeToLeave,
    /// Its calls have had time to end.
    TimeToHaveLeft,
    /// The calls of a client that was told to go away have had time to end.
    TimeToEnd,
    LookForUnreadAnswers,
    LookForSilence,
    /// Something has become of the client's certificate, and this may still come.
    OfCertificate(End, Option<Standing>),
    /// The calls of a client whose certificate is good no longer have had time to end.
    TimeToEndWithoutCertificate,
}

impl Events {
    /// Returns the events of a new connection, whose client's certificate is good as long as `standing` says.
    pub fn new(
        options: ServerOptions,
        stopping: &Stopping,
        activity: &Arc<Activity>,
        standing: Option<Standing>,
    ) -> Self {
        let events = Self {
            options,
            activity: Arc::clone(activity),
            going: false,
            awaited: FuturesUnordered::new(),
        };
        let age = options
            .max_connection_age
            .mul_f64(rand::random_range(JITTER));
        events.after(age, Event::GrownOld);
        let stopping = stopping.begun();
        let stopping = stopping.map(|()| Event::Stopping);
        events.awaited.push(stopping.boxed());
        events.await_end_of_certificate(standing);
        events.await_request_to_leave();
        events.look_for_unread_answers();
        events.look_for_silence();
        events
    }

    /// Returns what the connection has to do next.
    pub fn poll_next(&mut self, outbox: &Outbox, cx: &mut Context<'_>) -> Poll<Order> {
        loop {
            // There is always one to wait for.
            let Some(event) = ready!(self.awaited.poll_next_unpin(cx)) else {
                return Poll::Pending;
            };
            if let Some(order) = self.happened(event, outbox) {
                return Poll::Ready(order);
            }
        }
    }

    fn happened(&mut self, event: Event, outbox: &Outbox) -> Option<Order> {
        match event {
            Event::GrownOld => {
                // Also of one that was told to go before: its calls would otherwise have no end.
                self.after(self.options.max_connection_age_grace, Event::TimeToEnd);
                let was_told = mem::replace(&mut self.going, true);
                (!was_told).then_some(Order::GoAway)
            }
            Event::Stopping if self.going => None,
            Event::Stopping => {
                self.going = true;
                Some(Order::GoAway)
            }
            Event::AskedToLeave => {
                self.going = true;
                // Calls that have begun may end. Those that a client begins later, because it doesn't take note, keep nothing.
                self.after(self.time_of_calls(), Event::TimeToHaveLeft);
                self.after(LEAVE, Event::TimeToLeave);
                self.await_request_to_leave();
                Some(Order::GoAway)
            }
            Event::TimeToLeave => match self.activity.idle_for() {
                Some(idle) if idle >= LEAVE => Some(Order::Close("it is idle, and makes room")),
                // A call has arrived.
                _ => {
                    self.after(LEAVE, Event::TimeToLeave);
                    None
                }
            },
            Event::TimeToHaveLeft => Some(Order::Close(
                "it was asked to make room, and its calls and streams go on",
            )),
            Event::OfCertificate(End::Expired, _) => {
                Some(Order::Close("its client's certificate has expired"))
            }
            Event::OfCertificate(end, standing) => {
                if end == End::Unverified {
                    self.after(self.time_of_calls(), Event::TimeToEndWithoutCertificate);
                }
                self.await_end_of_certificate(standing);
                self.going = true;
                Some(Order::GoAway)
            }
            Event::TimeToEndWithoutCertificate => Some(Order::Close(
                "its client's certificate is good no longer, and its calls and streams go on",
            )),
            Event::TimeToEnd => Some(Order::Close("it is old, and its calls and streams go on")),
            Event::LookForUnreadAnswers => {
                self.look_for_unread_answers();
                let is_stuck = self.activity.look_if_stuck();
                is_stuck.then_some(Order::Close("its client reads no answers"))
            }
            Event::LookForSilence => {
                self.look_for_silence();
                let is_silent = outbox.look_for_silence();
                is_silent.then_some(Order::Close("its client is silent"))
            }
        }
    }

    /// How long calls that have begun may go on at most, on a connection that has to end.
    fn time_of_calls(&self) -> Duration {
        let limits = &self.options;
        limits.call_timeout.min(limits.max_connection_age_grace)
    }

    fn after(&self, span: Duration, event: Event) {
        let later = sleep(span).map(|()| event);
        self.awaited.push(later.boxed());
    }

    /// Awaits what becomes of the client's certificate. A client is told to go ahead of the end, so that the calls that
    /// it makes until it hears of that can end in time.
    fn await_end_of_certificate(&self, standing: Option<Standing>) {
        if let Some(standing) = standing {
            let next = standing.next(self.options.call_timeout);
            let next = next.map(|(end, standing)| Event::OfCertificate(end, standing));
            self.awaited.push(next.boxed());
        }
    }

    fn await_request_to_leave(&self) {
        let activity = Arc::clone(&self.activity);
        let asked = async move {
            activity.asked_to_leave().await;
            Event::AskedToLeave
        };
        self.awaited.push(asked.boxed());
    }

    fn look_for_unread_answers(&self) {
        self.after(self.options.call_timeout, Event::LookForUnreadAnswers);
    }

    fn look_for_silence(&self) {
        let pause = Silence::pause(self.options.idle_timeout);
        self.after(pause, Event::LookForSilence);
    }
}
