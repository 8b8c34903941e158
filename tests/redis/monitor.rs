//! Records every command that a Redis executes, as `MONITOR` reports it.

use testkit::{redis_server::RedisServer, resp_proxy::OPENING};

/// Records commands from [`Monitor::start`] to [`Monitor::finish`].
pub struct Monitor {
    listening: redis::Connection,
    other: redis::Connection,
}

/// A command that Redis executed.
#[derive(Debug)]
pub struct Command {
    /// Whether a script ran the command, and not a client.
    pub in_script: bool,
    /// The name, in upper case.
    pub verb: String,
    /// The arguments.
    pub args: Vec<String>,
}

const END: &str = "the end of what is monitored";

impl Monitor {
    pub fn start(server: &RedisServer) -> Self {
        let (mut listening, other) = (server.raw(), server.raw());
        redis::cmd("MONITOR").exec(&mut listening).unwrap();
        Self { listening, other }
    }

    /// Returns the commands of clients and scripts, without the ones that open a connection.
    pub fn finish(mut self) -> Vec<Command> {
        redis::cmd("ECHO").arg(END).exec(&mut self.other).unwrap();
        let mut commands = Vec::new();
        loop {
            let line = self.listening.recv_response().unwrap();
            let line: String = redis::from_redis_value(line).unwrap();
            if line.contains(END) {
                return commands;
            }
            let command = parse(&line);
            if !OPENING.contains(&command.verb.as_str()) {
                commands.push(command);
            }
        }
    }
}

/// Returns the names of the commands that clients sent, in order.
pub fn sent(commands: &[Command]) -> Vec<&str> {
    let by_clients = commands.iter().filter(|command| !command.in_script);
    by_clients.map(|command| command.verb.as_str()).collect()
}

/// Parses a line such as `1700000000.123456 [0 lua] "GET" "a \"key\""`.
fn parse(line: &str) -> Command {
    let (head, rest) = line.split_once("] ").unwrap();
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = rest.chars();
    let mut quoted = false;
    while let Some(c) = chars.next() {
        match c {
            '\\' => word.extend(chars.next()),
            '"' if quoted => {
                words.push(std::mem::take(&mut word));
                quoted = false;
            }
            '"' => quoted = true,
            c if quoted => word.push(c),
            _ => {}
        }
    }
    Command {
        in_script: head.ends_with(" lua"),
        verb: words.remove(0).to_uppercase(),
        args: words,
    }
}
