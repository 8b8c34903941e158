//! Sending a request to the primary, whichever server that is, and sending it again if that is safe.

use std::{sync::Arc, time::Duration};

use redis::{RedisError, RedisResult, Value};
use tokio::time::{Instant, timeout_at};

use super::{
    Link,
    connections::{Connections, OnSilence},
    detail,
    exclusive::{Replicas, checked_out},
    failure,
    lane::{NoPlace, Place},
    request::{Channel, Effect, Request, Traffic},
    topology::Primary,
    wire::{Connection, ErrorClass},
};
use crate::{
    store::{Error, outstanding::counted},
    traces,
};

/// How long to wait before a request is sent again, in milliseconds. The pause doubles each time, so that
/// many callers don't overload a server that is recovering.
const PAUSE: std::ops::Range<u64> = 5..15;
/// How often the pause is doubled at most.
const LONGEST: u32 = 4;
/// After how many ended connections a request pauses. Several may end at once, and each is found by one failed request.
const ENDED: u32 = 2;
/// After how many a read is given up that may be the cause: an answer that is too large for Redis' limits ends each
/// connection.
const ENDED_BY_IT: u32 = 5;
/// How long to wait before a primary is looked for again, in milliseconds.
const LOOK_AGAIN: std::ops::Range<u64> = 20..60;

impl Link {
    /// Sends `request` until it is answered, as long as that is safe and there is time.
    ///
    /// A request that surely wasn't applied is sent again, and so is a read. A write whose answer was lost is
    /// not sent again: only the caller knows what the write means, and whether it may be repeated.
    pub(super) async fn carry_out(
        &self,
        effect: Effect,
        request: Request<'_>,
    ) -> Result<Vec<Value>, Error> {
        let begun = Instant::now();
        let Some((primary, connection, place)) = self.connection_now(effect, request) else {
            return Box::pin(self.carry_out_with_patience(effect, request, begun, None)).await;
        };
        match send(connection, place, effect, request).await {
            Ok(answers) => Ok(answers),
            // Its state is large, and mostly there is no need for it.
            Err(error) => {
                let first = Some((primary, error));
                Box::pin(self.carry_out_with_patience(effect, request, begun, first)).await
            }
        }
    }

    /// Returns a connection for a request that needn't wait for one, nor afterwards for replicas.
    fn connection_now(
        &self,
        effect: Effect,
        request: Request<'_>,
    ) -> Option<(Arc<Primary>, Connection, Place)> {
        if self.shared.replicas.is_some()
            && (effect == Effect::Writes || !self.topology().is_confirmed())
        {
            return None;
        }
        let primary = self.topology().known_primary(self.slot)?;
        let traffic = request.traffic(effect);
        let (connection, place) = self.connections(&primary).place_now(traffic)?;
        Some((primary, connection, place))
    }

    /// Does what [`Link::carry_out`] does, for a request that was begun at `begun`. If it was sent already, `first` is
    /// the error and the primary that it came from.
    async fn carry_out_with_patience(
        &self,
        effect: Effect,
        request: Request<'_>,
        begun: Instant,
        mut first: Option<(Arc<Primary>, RedisError)>,
    ) -> Result<Vec<Value>, Error> {
        let mut end = begun + self.patience;
        let replicas = self.shared.replicas.as_ref();
        let replicas = replicas.filter(|_| effect == Effect::Writes);
        let mut importing = None;
        let mut tries = 0;
        loop {
            let (primary, answer) = match (first.take(), replicas, importing.take()) {
                (Some((primary, error)), ..) => (primary, Err(error)),
                (None, Some(replicas), _) => self.send_exclusively(replicas, request, end).await?,
                (None, None, Some((primary, connection))) => {
                    (primary, send(connection, (), effect, request).await)
                }
                (None, None, None) => {
                    let traffic = request.traffic(effect);
                    let (primary, connection, place) = self.connection(traffic, end).await?;
                    (primary, send(connection, place, effect, request).await)
                }
            };
            let error = match (answer, replicas) {
                (Ok(answers), Some(replicas)) => return replicas.check(answers),
                (Ok(answers), None) => return Ok(answers),
                (Err(error), _) => error,
            };
            tries += 1;
            let class = ErrorClass::of(&error);
            self.topology().note(self.slot, &primary, &class);
            if effect == Effect::Writes && !class.is_not_applied() {
                return Err(Error::Unknown(detail(&error, &class)));
            }
            if request.is_dispensable() && class.is_not_applied() {
                return Ok(Vec::new());
            }
            if tries == 1 && class == ErrorClass::Silent {
                // The first attempt may have taken all the time.
                end = end.max(Instant::now() + self.patience.min(self.shared.sizes.timeout));
            }
            // An answer that is too large for Redis' limits ends the connection, which others use too.
            let ends_each = class == ErrorClass::Ended
                && tries > ENDED_BY_IT
                && matches!(
                    request.traffic(effect),
                    Traffic::LargeReads | Traffic::ScriptReads
                );
            if ends_each || !self.helps(&class) || Instant::now() >= end {
                return Err(failure(&error));
            }
            traces::retried();
            if let ErrorClass::Ask(Some(address)) = &class
                && effect == Effect::Reads
                && !request.runs_scripts()
            {
                let connection = self
                    .topology()
                    .connect_importing(&primary, address)
                    .await
                    .ok();
                importing = connection.map(|connection| (primary, connection));
            }
            // Several shared connections may have ended, and each is found by one failed request. Only after some of them,
            // and where two nodes point at each other, a pause is needed.
            let is_found_out = importing.is_some() || class == ErrorClass::Ended;
            if !is_found_out || tries > ENDED {
                let pause = rand::random_range(PAUSE) << tries.min(LONGEST);
                self.pause(pause).await;
            }
        }
    }

    /// Whether it helps to send a request again.
    pub(super) fn helps(&self, class: &ErrorClass) -> bool {
        match class {
            ErrorClass::Passing
            | ErrorClass::Silent
            | ErrorClass::Ended
            | ErrorClass::Unauthenticated => true,
            // With a single server, there is no other one that could take over.
            ErrorClass::Demoted | ErrorClass::TooFewReplicas => self.topology().fails_over(),
            ErrorClass::Moved(_) | ErrorClass::Ask(_) => self.topology().is_cluster(),
            ErrorClass::Refused | ErrorClass::WrongType => false,
        }
    }

    async fn pause(&self, millis: u64) {
        let span = Duration::from_millis(millis);
        self.topology().pause(self.slot, span).await;
    }

    /// Returns the slot's primary. Waits until one is known.
    async fn primary(&self, end: Instant) -> Result<Arc<Primary>, Error> {
        loop {
            match timeout_at(end, self.topology().primary(self.slot)).await {
                Ok(Ok(primary)) => return Ok(primary),
                Ok(Err(error)) if Instant::now() >= end => {
                    return Err(self.no_connection(Some(&error)));
                }
                Ok(Err(_)) => {}
                Err(_) => return Err(self.no_connection(self.topology().trouble().as_ref())),
            }
            self.pause(rand::random_range(LOOK_AGAIN)).await;
        }
    }

    fn connections<'p>(&self, primary: &'p Arc<Primary>) -> &'p Connections {
        primary.connections.get_or_init(|| {
            let shared = Arc::downgrade(&self.shared);
            let silence = OnSilence::new(move |primary| {
                if let Some(shared) = shared.upgrade() {
                    shared.topology.silent(primary);
                }
            });
            let servers = self.topology().servers();
            Connections::new(servers, primary, self.shared.sizes, silence)
        })
    }

    /// Takes a place on a connection that callers share. Returns also the primary that it leads to.
    async fn connection(
        &self,
        traffic: Traffic,
        end: Instant,
    ) -> Result<(Arc<Primary>, Connection, Place), Error> {
        loop {
            let primary = self.primary(end).await?;
            let connections = self.connections(&primary);
            let lane = connections.lane(traffic);
            let place = match connections.place_now(traffic) {
                Some(found) => Ok(found),
                None => tokio::select! {
                    biased;
                    place = lane.place(end) => place,
                    () = self.topology().changed(self.slot, &primary) => continue,
                },
            };
            let (connection, place) = match place {
                Ok(found) => found,
                Err(_) if primary.is_over() && Instant::now() < end => continue,
                Err(NoPlace::Full) => {
                    return Err(Error::unavailable("Redis has too many requests to answer"));
                }
                Err(NoPlace::Unconnected) => {
                    let why = connections.last_failure();
                    return Err(self.no_connection(why.as_ref()));
                }
            };
            if self.make_sure(end).await? {
                return Ok((primary, connection, place));
            }
        }
    }

    /// Makes sure that a connection to the primary may be used. If it returns `false`, the caller has to get another one.
    ///
    /// It matters only if writes wait for replicas, and is always `true` otherwise. If the primary isn't confirmed,
    /// this waits until one is and returns `false`: the connection may lead to the old primary.
    async fn make_sure(&self, end: Instant) -> Result<bool, Error> {
        if self.shared.replicas.is_none() || self.topology().is_confirmed() {
            return Ok(true);
        }
        while !self.topology().is_confirmed() {
            if Instant::now() >= end {
                return Err(Error::unavailable(
                    "no majority of the sentinels confirms which server is the primary",
                ));
            }
            self.pause(PAUSE.end).await;
        }
        Ok(false)
    }

    /// Sends a request over a connection that it holds alone, followed by the WAIT for replicas.
    async fn send_exclusively(
        &self,
        replicas: &Replicas,
        request: Request<'_>,
        end: Instant,
    ) -> Result<(Arc<Primary>, RedisResult<Vec<Value>>), Error> {
        let turn = replicas.turn()?;
        loop {
            let primary = self.primary(end).await?;
            let connections = self.connections(&primary);
            let Some(pool) = &connections.exclusive else {
                return Err(Error::unavailable("no connections for writes that wait"));
            };
            let checked_out = tokio::select! {
                biased;
                checked_out = checked_out(pool, end) => checked_out,
                () = self.topology().changed(self.slot, &primary) => continue,
            };
            let watched = match checked_out {
                Ok(watched) => watched,
                Err(_) if primary.is_over() && Instant::now() < end => continue,
                Err(error) => {
                    let Some(error) = error.or_else(|| connections.last_failure()) else {
                        let why = "every connection for such writes waits for replicas";
                        return Err(Error::unavailable(why));
                    };
                    return Err(self.no_connection(Some(&error)));
                }
            };
            // The pool finds a connection that broke while it was idle only when it is given back.
            if watched.connection.is_broken() || !self.make_sure(end).await? {
                continue;
            }
            let connection = watched.connection.clone();
            let held = (watched, turn);
            let wait = Some(replicas.wait());
            let mut channel = Channel::new(connection, held, Effect::Writes, wait);
            let answer = counted(request.send(&mut channel)).await;
            return Ok((primary, answer));
        }
    }
}

async fn send<H: Send + 'static>(
    connection: Connection,
    held: H,
    effect: Effect,
    request: Request<'_>,
) -> RedisResult<Vec<Value>> {
    let mut channel = Channel::new(connection, held, effect, None);
    counted(request.send(&mut channel)).await
}
