//! What a connection is doing: whether it has calls, for how long it has had none, and whether it ever had one.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use super::source::{Origin, who_yield};
use crate::{rpc::admission::Share, types::lock};

/// What a connection is doing. The connection itself and whoever looks for room share it.
///
/// Only calls that the policy let in count: those of a caller. A stream of `Watch`, a probe or a call that is refused
/// keeps no place, because anybody can have those.
#[derive(Debug)]
pub(super) struct Activity {
    share: Arc<Share>,
    origin: Origin,
    state: Mutex<State>,
    leave: Notify,
    /// Whether an answer waits in the outbox until the client reads.
    is_sending: AtomicBool,
}

#[derive(Debug)]
struct State {
    /// When the last answer had left, or when the connection began.
    sent: Instant,
    asked_to_leave: bool,
}

impl Activity {
    /// Returns the activity of a new connection, whose calls are admitted by `share`.
    pub fn new(share: Arc<Share>) -> Arc<Self> {
        let origin = Origin::now(share.source());
        Arc::new(Self {
            share,
            origin,
            state: Mutex::new(State {
                sent: origin.since,
                asked_to_leave: false,
            }),
            leave: Notify::new(),
            is_sending: AtomicBool::new(false),
        })
    }

    /// Returns for how long the connection has had no call, or `None` if it has one. A call whose answer hasn't left the
    /// process counts.
    pub fn idle_for(&self) -> Option<Duration> {
        if self.has_answers() {
            return None;
        }
        let Some(last) = self.share.last_let_in() else {
            return Some(self.origin.since.elapsed());
        };
        let idle = !self.is_sending();
        idle.then(|| last.max(lock(&self.state).sent).elapsed())
    }

    /// Returns whether an answer was already leaving at the last look but one. Each call is a look.
    pub fn look_if_stuck(&self) -> bool {
        self.share.look_if_stuck()
    }

    /// Returns whether there are calls whose answers haven't been handed to the outbox.
    pub fn has_answers(&self) -> bool {
        self.share.in_flight() > 0
    }

    /// Takes note of whether an answer waits in the outbox until the client reads.
    pub fn note_sending(&self, is_sending: bool) {
        if self.is_sending() != is_sending {
            self.is_sending.store(is_sending, Ordering::Relaxed);
            lock(&self.state).sent = Instant::now();
        }
    }

    /// Returns whether an answer waits in the outbox until the client reads.
    pub fn is_sending(&self) -> bool {
        self.is_sending.load(Ordering::Relaxed)
    }

    /// Returns whether there never was a call of a caller.
    fn is_a_strangers(&self) -> bool {
        self.share.last_let_in().is_none()
    }

    /// Returns the number of the caller whose connection it is, if there is a policy.
    fn caller(&self) -> Option<u64> {
        self.share.caller()
    }

    /// Returns where the connection comes from, and since when it is there.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Asks the connection to leave.
    pub fn ask_to_leave(&self) {
        lock(&self.state).asked_to_leave = true;
        self.leave.notify_one();
    }

    /// Returns whether the connection was asked to leave.
    fn is_asked_to_leave(&self) -> bool {
        lock(&self.state).asked_to_leave
    }

    /// Waits until the connection is asked to leave.
    pub async fn asked_to_leave(&self) {
        self.leave.notified().await;
    }
}

/// Who makes room, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Room {
    /// How many connections there may be.
    pub most: usize,
    /// How long a connection is there, or has been idle, before it is asked to leave.
    pub least: Duration,
    /// How many may be leaving at once: those of strangers, who come again, and those of one caller that has more than its part.
    pub leaving: usize,
}

/// Returns which of some connections should make room, in this order:
///
/// 1. Those of strangers, [by their sources](who_yield). While one of them has yet to leave, no caller loses a connection.
/// 2. One of the caller that has [more than its part](who_has_most), however busy it keeps them.
/// 3. The connection of a caller that has been idle for longest: one at a time, once those that were asked have left.
pub(super) fn who_make_room<'a>(
    connections: impl Iterator<Item = &'a Arc<Activity>>,
    room: Room,
) -> Vec<&'a Arc<Activity>> {
    let all: Vec<_> = connections.collect();
    let idle = all.iter().copied();
    let idle = idle.filter_map(|activity| Some((activity.idle_for()?, activity)));
    let (leaving, idle): (Vec<_>, Vec<_>) =
        idle.partition(|(_, activity)| activity.is_asked_to_leave());
    let (of_strangers, of_callers): (Vec<_>, Vec<_>) = idle
        .into_iter()
        .partition(|(_, activity)| activity.is_a_strangers());
    let going = leaving.iter().filter(|(_, one)| one.is_a_strangers());
    let going = going.count();
    if going + of_strangers.len() > 0 {
        let many = room.leaving.saturating_sub(going);
        let idle = of_strangers
            .into_iter()
            .filter(|(idle, _)| *idle >= room.least);
        let idle = idle.map(|(_, activity)| (activity.origin, activity));
        return who_yield(idle, many);
    }
    if let Some(theirs) = who_has_most(&all, room.most) {
        return idlest(theirs, room).into_iter().collect();
    }
    if !leaving.is_empty() {
        return Vec::new();
    }
    let longest = of_callers.into_iter().max_by_key(|(idle, _)| *idle);
    let longest = longest.filter(|(idle, _)| *idle >= room.least);
    longest.into_iter().map(|(_, activity)| activity).collect()
}

/// Returns the connections of the caller that has the most of them, if these are more than its part of the `most` that there may
/// be: as many as each would have if all callers and the one who waits had as many.
fn who_has_most<'a>(all: &[&'a Arc<Activity>], most: usize) -> Option<Vec<&'a Arc<Activity>>> {
    let mut callers: HashMap<u64, Vec<_>> = HashMap::new();
    for activity in all {
        if let Some(caller) = activity.caller() {
            callers.entry(caller).or_default().push(*activity);
        }
    }
    let part = most / (callers.len() + 1);
    let theirs = callers.into_values().max_by_key(Vec::len)?;
    (theirs.len() > part).then_some(theirs)
}

/// Returns the connection of a caller that has been idle for longest. If each has calls, it is the one that is there for
/// longest. There is none while as many as may be leaving are.
fn idlest(theirs: Vec<&Arc<Activity>>, room: Room) -> Option<&Arc<Activity>> {
    let (leaving, left): (Vec<_>, Vec<_>) = theirs
        .into_iter()
        .partition(|activity| activity.is_asked_to_leave());
    if leaving.len() >= room.leaving {
        return None;
    }
    let old = left
        .into_iter()
        .filter(|activity| activity.origin.since.elapsed() >= room.least);
    old.max_by_key(|activity| (activity.idle_for(), activity.origin.since.elapsed()))
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;
    use crate::types::Source;
    use crate::{
        access::{Caller, Rights},
        rpc::{Admission, CallLimits, TenantShare},
    };

    const SECOND: Duration = Duration::from_secs(1);

    /// Two strangers may be leaving at once.
    const ROOM: Room = Room {
        most: 12,
        least: SECOND,
        leaving: 2,
    };

    /// Connections, and the tenant of their calls.
    struct World {
        admission: Admission,
        tenant: Arc<TenantShare>,
        all: Vec<Arc<Activity>>,
    }

    impl World {
        fn new() -> Self {
            let admission = Admission::new(CallLimits {
                calls: 100,
                bytes: 1024,
                largest: 1024,
                of_a_tenant: None,
            });
            let tenant = admission.tenant();
            tenant.open();
            Self {
                admission,
                tenant,
                all: Vec::new(),
            }
        }

        /// Adds a connection of a stranger.
        fn stranger(&mut self) -> Arc<Activity> {
            let activity = Activity::new(self.admission.share(Source::default()));
            self.all.push(Arc::clone(&activity));
            activity
        }

        /// Adds a connection of a caller.
        fn caller(&mut self) -> Arc<Activity> {
            let activity = self.stranger();
            activity.share.note_let_in();
            activity
        }

        /// Adds a connection of the caller of this name.
        fn named(&mut self, name: &str) -> Arc<Activity> {
            let activity = self.caller();
            let tenant = Arc::new("a:b".parse().unwrap());
            let caller = Caller::new(name.to_owned(), tenant, Rights::default());
            let share = self.tenant.of_caller(&caller).unwrap();
            activity.share.note_caller(&share);
            activity
        }

        fn call(&self, activity: &Activity) -> Arc<crate::rpc::admission::Permit> {
            activity.share.note_let_in();
            activity.share.admit(&self.tenant, None).unwrap()
        }

        /// Whether this one makes room, where two strangers may be leaving.
        fn finds(&self, which: &Arc<Activity>) -> bool {
            let found = who_make_room(self.all.iter(), ROOM);
            found.first().is_some_and(|found| Arc::ptr_eq(found, which))
        }

        fn finds_nobody(&self) -> bool {
            who_make_room(self.all.iter(), ROOM).is_empty()
        }

        fn closed(&mut self, which: &Arc<Activity>) {
            self.all.retain(|one| !Arc::ptr_eq(one, which));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn of_callers_who_has_been_without_calls_for_longest_makes_room() {
        let mut world = World::new();
        let [calls, is_calling, quiet] = std::array::from_fn(|_| world.caller());
        assert!(world.finds_nobody());
        advance(SECOND).await;
        // A call that ends begins the time anew, and one that goes on is no idleness at all.
        drop(world.call(&calls));
        let call = world.call(&is_calling);
        assert!(world.finds(&quiet));
        quiet.ask_to_leave();
        advance(SECOND).await;
        assert!(world.finds_nobody(), "one is leaving");
        world.closed(&quiet);
        assert!(world.finds(&calls));
        calls.ask_to_leave();
        world.closed(&calls);
        assert!(world.finds_nobody());
        drop(call);
        assert!(world.finds_nobody());
        advance(SECOND).await;
        assert!(world.finds(&is_calling));
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_make_room_first_and_the_oldest_of_them() {
        let mut world = World::new();
        let caller = world.caller();
        advance(SECOND).await;
        let first = world.stranger();
        let others: [_; 3] = std::array::from_fn(|_| world.stranger());
        assert!(world.finds_nobody(), "the others will soon be idle");
        advance(SECOND).await;
        // Who isn't let in gains nothing by trying.
        others[0].note_sending(true);
        world.all.rotate_left(3);
        first.ask_to_leave();
        assert!(!world.finds(&first) && !world.finds_nobody());
        others[0].ask_to_leave();
        assert!(world.finds_nobody(), "two are leaving");
        world.closed(&first);
        others[1].share.note_let_in();
        assert!(world.finds(&others[2]));
        for stranger in [&others[0], &others[2]] {
            world.closed(stranger);
        }
        assert!(world.finds(&caller));
    }

    /// A caller that has more than its part keeps it while strangers are there, also those that were asked and have not left.
    #[tokio::test(start_paused = true)]
    async fn nobody_is_asked_while_strangers_are_leaving() {
        let mut world = World::new();
        let many: [_; 10] = std::array::from_fn(|_| world.named("greedy"));
        let strangers: [_; 2] = std::array::from_fn(|_| world.stranger());
        advance(SECOND).await;
        strangers.iter().for_each(|one| one.ask_to_leave());
        assert!(world.finds_nobody(), "both are leaving");
        world.closed(&strangers[0]);
        assert!(world.finds_nobody(), "one is leaving");
        world.closed(&strangers[1]);
        assert!(many.iter().any(|one| world.finds(one)));
    }

    /// However busy a caller keeps its connections, it loses those that are more than its part.
    #[tokio::test(start_paused = true)]
    async fn who_has_more_than_its_part_makes_room_before_others_do() {
        let mut world = World::new();
        let [one, other] = std::array::from_fn(|_| world.named("modest"));
        advance(SECOND).await;
        let many: [_; 10] = std::array::from_fn(|_| world.named("greedy"));
        assert!(world.finds_nobody(), "those of the greedy one are new");
        advance(SECOND).await;
        let calls: Vec<_> = many[1..].iter().map(|one| world.call(one)).collect();
        drop(world.call(&many[0]));
        // Its only idle one has been idle for no time, and the others' for seconds.
        assert!(world.finds(&many[0]));
        many[0].ask_to_leave();
        // Of those with calls, whichever.
        let next = Arc::clone(who_make_room(world.all.iter(), ROOM)[0]);
        assert!(many[1..].iter().any(|one| Arc::ptr_eq(one, &next)));
        next.ask_to_leave();
        assert!(world.finds_nobody(), "two are leaving");
        drop(calls);
        // It keeps its part: four of twelve, for it, the modest one, and who waits.
        for left in [&many[0], &next] {
            world.closed(left);
        }
        let rest = many[1..].iter().filter(|one| !Arc::ptr_eq(one, &next));
        for left in rest.take(4) {
            world.closed(left);
        }
        assert!(world.finds(&one) || world.finds(&other));
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_whose_answer_has_not_left_is_no_idleness() {
        let mut world = World::new();
        let activity = world.caller();
        let answer = world.call(&activity);
        advance(SECOND).await;
        assert_eq!(activity.idle_for(), None);
        activity.note_sending(true);
        drop(answer);
        assert_eq!(activity.idle_for(), None);
        advance(SECOND).await;
        activity.note_sending(false);
        assert_eq!(activity.idle_for(), Some(Duration::ZERO));
    }
}
