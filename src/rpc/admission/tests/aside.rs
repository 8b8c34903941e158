//! Places for calls that anybody may make.

use std::{collections::VecDeque, net::SocketAddr};

use tokio::sync::oneshot::Receiver;

use super::{callers::named, *};

/// A connection of a stranger from `ip`.
fn stranger(admission: &Open, ip: &str) -> Arc<Share> {
    let address = SocketAddr::new(ip.parse().unwrap(), 1);
    admission.0.share(Source::of(Some(address)))
}

/// A connection of the caller of this name.
fn caller(admission: &Open, name: &str) -> Arc<Share> {
    let share = stranger(admission, "10.9.9.9");
    share.note_caller(&admission.1.of_caller(&named(name)).unwrap());
    share.note_let_in();
    share
}

fn is_lost(place: &mut Receiver<()>) -> bool {
    place.now_or_never().is_some()
}

/// Calls of strangers give up their places in the order of coming. Those over a caller's connection keep theirs.
#[test]
fn places_go_from_strangers_to_who_comes_next() {
    let admission = roomy();
    let places = SidePlaces::new(5);
    let aside = |share: &Arc<Share>| share.admit_aside(&places);
    let (one, other) = (caller(&admission, "one"), caller(&admission, "other"));
    let [first, next] = ["10.0.0.1", "10.0.0.2"].map(|ip| stranger(&admission, ip));
    let mut kept = [aside(&one).unwrap(), aside(&other).unwrap()];
    let mut theirs = [
        aside(&first).unwrap(),
        aside(&first).unwrap(),
        aside(&first).unwrap(),
    ];
    let mut kept_ones = kept.each_mut().map(Aside::lost);
    let mut lost = theirs.each_mut().map(Aside::lost);
    let newer = [aside(&next).unwrap(), aside(&one).unwrap()];
    assert_eq!(lost.each_mut().map(is_lost), [true, true, false]);
    // They are the new ones' by now, whatever becomes of the calls that lost them.
    drop(theirs);
    let all = [aside(&other).unwrap(), aside(&next).unwrap()];
    assert!(!kept_ones.iter_mut().any(is_lost));
    drop((newer, all, kept));
    // Where there are callers alone, and none has more than half, a stranger finds no place.
    let _calls: Vec<_> = [&one, &one, &other, &other]
        .map(aside)
        .into_iter()
        .collect();
    let third = caller(&admission, "third");
    let last = aside(&third).unwrap();
    assert!(is_overloaded(&aside(&next)));
    drop(last);
    aside(&next).unwrap();
}

/// A connection that has one place keeps it, although it is the oldest, while others that have more call without end.
#[test]
fn places_go_from_who_has_the_most() {
    let admission = roomy();
    let places = SidePlaces::new(5);
    // From one address, as behind a NAT, and from several.
    for ips in [["10.0.0.1"; 3], ["10.0.0.1", "10.0.0.2", "10.0.0.2"]] {
        let [one, many, more] = ips.map(|ip| stranger(&admission, ip));
        let aside = |share: &Arc<Share>| share.admit_aside(&places).unwrap();
        let mut kept = aside(&one);
        let mut kept_one = kept.lost();
        // Each gives way to its own next calls, as soon as both have two.
        let mut calls: VecDeque<_> = (0..4).map(|_| aside(&many)).collect();
        for _ in 0..40 {
            calls.extend([aside(&many), aside(&more)]);
            calls.drain(..calls.len() - 4);
        }
        assert!(!is_lost(&mut kept_one));
        // Beside others that have one, too, it is the oldest that goes.
        drop(calls);
        let others: [_; 5] =
            std::array::from_fn(|at| aside(&stranger(&admission, &format!("10.1.0.{at}"))));
        assert!(is_lost(&mut kept_one));
        drop(others);
    }
}

/// Connections are as many as somebody likes. Addresses aren't.
#[test]
fn one_address_takes_no_place_of_another_by_many_connections() {
    let admission = roomy();
    let places = SidePlaces::new(8);
    let watcher = stranger(&admission, "10.0.0.1");
    let mut watch = watcher.admit_aside(&places).unwrap();
    let mut kept = watch.lost();
    let mut others = VecDeque::new();
    for _ in 0..100 {
        let connection = stranger(&admission, "10.0.0.2");
        others.push_back(connection.admit_aside(&places).unwrap());
        others.drain(..others.len().saturating_sub(10));
    }
    assert!(!is_lost(&mut kept));
    // Seven are there.
    let lost = others.iter_mut().map(Aside::lost);
    assert_eq!(lost.filter_map(|lost| lost.now_or_never()).count(), 3);
}

/// A caller whose credentials were stolen takes all places, over many connections. Another caller and strangers find some.
#[test]
fn a_caller_keeps_half_of_the_places_at_most_from_others() {
    let admission = roomy();
    let places = SidePlaces::new(8);
    let mut taken = VecDeque::new();
    let flood = |taken: &mut VecDeque<Aside>| {
        for _ in 0..20 {
            let connection = caller(&admission, "stolen");
            taken.extend(connection.admit_aside(&places));
            taken.drain(..taken.len().saturating_sub(20));
        }
    };
    flood(&mut taken);
    let (good, probe) = (caller(&admission, "good"), stranger(&admission, "10.0.0.1"));
    let [mut watch, mut check] = [&good, &probe].map(|share| share.admit_aside(&places).unwrap());
    let mut kept = [watch.lost(), check.lost()];
    flood(&mut taken);
    assert_eq!(kept.each_mut().map(is_lost), [false, false]);
    // A stranger has no place of the half that is a caller's.
    let more: Vec<_> = (0..10)
        .map(|at| stranger(&admission, &format!("10.1.0.{at}")).admit_aside(&places))
        .collect();
    assert!(more.iter().all(Result::is_ok));
    let lost = taken.iter_mut().map(Aside::lost);
    let lost = lost.filter_map(|lost| lost.now_or_never()).count();
    assert_eq!(taken.len() - lost, 4);
    assert!(!is_lost(&mut kept[0]));
}

/// A client watches first, and calls later.
#[test]
fn who_becomes_a_caller_keeps_what_it_had_before() {
    let admission = roomy();
    let places = SidePlaces::new(3);
    let aside = |share: &Arc<Share>| share.admit_aside(&places).unwrap();
    let client = stranger(&admission, "10.0.0.1");
    let mut watch = aside(&client);
    let mut kept = watch.lost();
    client.note_caller(&admission.1.of_caller(&named("one")).unwrap());
    client.note_let_in();
    let mut others = Vec::new();
    for at in 0..5 {
        others.push(aside(&stranger(&admission, &format!("10.1.0.{at}"))));
    }
    assert!(!is_lost(&mut kept));
}

/// Without a policy, connections that have made a call keep their places from those that haven't.
#[test]
fn without_a_policy_who_has_called_is_no_stranger() {
    let admission = roomy();
    let places = SidePlaces::new(3);
    let client = stranger(&admission, "10.0.0.1");
    client.note_let_in();
    let mut watch = client.admit_aside(&places).unwrap();
    let mut kept = watch.lost();
    let others: Vec<_> = (0..5)
        .map(|_| {
            stranger(&admission, "10.0.0.1")
                .admit_aside(&places)
                .unwrap()
        })
        .collect();
    assert!(!is_lost(&mut kept));
    drop(others);
}

/// Whatever is taken, lost and given up, all places are there again in the end.
#[test]
fn no_place_is_lost_for_good() {
    let admission = roomy();
    let places = SidePlaces::new(6);
    let mut held = Vec::new();
    for round in 0..2_000_usize {
        let share = match round % 7 {
            0 => caller(&admission, &format!("c{}", round % 3)),
            rest => stranger(&admission, &format!("10.0.0.{rest}")),
        };
        for _ in 0..round % 4 {
            held.extend(share.admit_aside(&places));
        }
        if round % 5 == 0 {
            share.note_let_in();
        }
        if held.len() > 9 {
            held.remove(round % held.len());
            held.swap_remove(round % 3);
        }
    }
    drop(held);
    let share = stranger(&admission, "10.0.0.1");
    let mut all: Vec<_> = (0..6)
        .map(|_| share.admit_aside(&places).unwrap())
        .collect();
    let mut lost: Vec<_> = all.iter_mut().map(Aside::lost).collect();
    assert!(!lost.iter_mut().any(is_lost));
    let _one_more = share.admit_aside(&places).unwrap();
    assert_eq!(
        lost.iter_mut()
            .filter_map(|lost| lost.now_or_never())
            .count(),
        1
    );
}
