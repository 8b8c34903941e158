//! A Redis that keeps everything that it is told, and all of it as bytes.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    sync::{Arc, Mutex},
};

use testkit::{canary::Sink, launch::Launch, redis_server::RedisServer, waiting::until};

use crate::secrets::{DAMAGE, SESSION, STATE};

/// The names of keys have session ids. The damage is the test's own.
const IN_REDIS: &[&str] = &[SESSION, STATE, DAMAGE];

/// Starts a server that notes every command as slow, and writes all files without compressing them.
pub fn start(password: &str) -> RedisServer {
    let lines = [
        format!("requirepass {password}"),
        "appendonly yes".to_owned(),
        // Otherwise Redis puts a write off while it waits for the disk.
        "appendfsync no".to_owned(),
        "rdbcompression no".to_owned(),
        "slowlog-log-slower-than 0".to_owned(),
        "slowlog-max-len 100000".to_owned(),
    ];
    Launch::default()
        .lines(lines)
        .login("default", password)
        .start()
}

/// What a client sees that monitors the server.
pub struct Monitor(Arc<Mutex<Vec<u8>>>);

impl Monitor {
    /// Follows the server, until it ends.
    pub async fn follow(redis: &RedisServer, password: &str) -> Self {
        let seen = Arc::<Mutex<Vec<u8>>>::default();
        let mut stream = TcpStream::connect(("127.0.0.1", redis.port())).unwrap();
        let hello = format!("AUTH {password}\r\nMONITOR\r\n");
        stream.write_all(hello.as_bytes()).unwrap();
        let follower = Arc::clone(&seen);
        std::thread::spawn(move || {
            let mut buffer = [0; 65_536];
            while let Ok(length) = stream.read(&mut buffer)
                && length > 0
            {
                follower
                    .lock()
                    .unwrap()
                    .extend_from_slice(&buffer[..length]);
            }
        });
        let monitor = Self(seen);
        monitor.sees(redis).await;
        monitor
    }

    /// Waits until everything before this was seen.
    async fn sees(&self, redis: &RedisServer) {
        let mark = format!("mark {:016x}", rand::random::<u64>());
        until("the monitor follows", async || {
            redis.ask::<String>(&["ECHO", &mark]).unwrap();
            let seen = self.0.lock().unwrap();
            memchr::memmem::find(&seen, format!("\"{mark}\"").as_bytes()).is_some()
        })
        .await;
    }
}

/// Returns everything that Redis has.
pub async fn sinks(redis: &RedisServer, monitor: &Monitor) -> Vec<Sink> {
    monitor.sees(redis).await;
    let slow: ::redis::Value = redis.ask(&["SLOWLOG", "GET", "-1"]).unwrap();
    let _: () = redis.ask(&["SAVE"]).unwrap();
    let dir = redis.dir();
    let mut appended = Vec::new();
    for file in fs::read_dir(dir.join("appendonlydir")).unwrap() {
        appended.extend(fs::read(file.unwrap().path()).unwrap());
    }
    vec![
        Sink::new("monitor", monitor.0.lock().unwrap().clone()).allowing(IN_REDIS),
        Sink::new("slow log", bytes_in(&slow)).allowing(IN_REDIS),
        Sink::new("RDB", read(dir, "dump.rdb")).allowing(IN_REDIS),
        Sink::new("AOF", appended).allowing(IN_REDIS),
        Sink::new("log of Redis", read(dir, "log")).allowing(IN_REDIS),
    ]
}

/// Has Redis write this into its log.
pub fn log(redis: &RedisServer, text: &str) {
    let script = "redis.log(redis.LOG_WARNING, ARGV[1])";
    let _: () = redis.ask(&["EVAL", script, "0", text]).unwrap();
}

fn read(dir: &Path, name: &str) -> Vec<u8> {
    fs::read(dir.join(name)).unwrap()
}

fn bytes_in(value: &::redis::Value) -> Vec<u8> {
    match value {
        ::redis::Value::BulkString(bytes) => [bytes, &b"\n"[..]].concat(),
        ::redis::Value::Array(items) => items.iter().flat_map(bytes_in).collect(),
        ::redis::Value::SimpleString(text) => text.clone().into_bytes(),
        _ => Vec::new(),
    }
}
