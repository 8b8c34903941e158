//! The floor of the store: the broker's commands, over redis-rs and without a broker, in a closed loop.

use std::{
    cell::RefCell,
    rc::Rc,
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng, rngs::StdRng};
use redis::Value;
use tokio::{runtime::Runtime, task::LocalSet};

use crate::{
    capture::Commands,
    process::Process,
    window::{Sample, Window},
};

/// Measures how Redis does with these callers, spread over the connections. Each waits for the answer to a request
/// before it sends the next one.
pub(crate) fn measure(
    runtime: &Runtime,
    redis: &redis::Client,
    commands: &Commands,
    (callers, connections): (usize, usize),
    span: Duration,
    watched: &[Process],
) -> Sample {
    let commands: Rc<[_]> = commands.as_slice().into();
    let tasks = LocalSet::new();
    tasks.block_on(runtime, async {
        let mut opened = Vec::new();
        for _ in 0..connections {
            opened.push(redis.get_multiplexed_async_connection().await.unwrap());
        }
        let window = Rc::new(RefCell::new(Window::soon(span, watched)));
        let mut calling = Vec::new();
        for caller in 0..callers {
            let mut connection = opened[caller % connections].clone();
            let (commands, window) = (Rc::clone(&commands), Rc::clone(&window));
            let mut dice = StdRng::seed_from_u64(caller as u64);
            calling.push(tokio::task::spawn_local(async move {
                let mut begun = Instant::now();
                while !window.borrow_mut().look(begun) {
                    let request = &commands[dice.random_range(0..commands.len())];
                    let answer: Vec<Value> = request.query_async(&mut connection).await.unwrap();
                    assert!(!answer.contains(&Value::Nil), "a row is missing");
                    let ended = Instant::now();
                    window.borrow_mut().count_ended(begun, ended);
                    begun = ended;
                }
            }));
        }
        for caller in calling {
            caller.await.unwrap();
        }
        Rc::into_inner(window).unwrap().into_inner().close()
    })
}
