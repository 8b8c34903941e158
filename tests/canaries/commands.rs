//! What commands print, of sound settings and of such that have secrets in the wrong places.

use std::{fs, path::Path};

use futures_util::future::join_all;
use testkit::broker_process::{output, program};

use crate::{secrets::Secrets, world::World};

/// What one or more commands printed.
#[derive(Default)]
pub struct Printed {
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Printed {
    /// Returns all of it.
    pub fn all(self) -> Vec<u8> {
        [self.stdout, self.stderr].concat()
    }
}

/// Runs every command, and returns what all of them printed. Secrets are in files alone.
pub async fn printed(world: &World) -> Vec<u8> {
    let mut all = Vec::new();
    let audit = world.file("audit.jsonl");
    let health = world.process.logged_address("health_address").to_string();
    for command in [
        "serve --check-config",
        "policy check",
        "policy check auth",
        "providers",
        "providers test good",
        "providers test good --with-made-up-token",
        "providers test odd2 --with-made-up-token",
        "providers test odd12 --with-made-up-token",
        "providers clear-refused odd0 --since 1h --dry-run",
        "check",
        "check --report json",
        "keys status",
        "keys rotate",
        "migrate --dry-run",
        "migrate",
        "check --repair",
        "keys rewrap",
    ] {
        all.extend(of_the_settings(world, command).await.all());
    }
    all.extend(run(words(&["audit", "verify", &audit])).await.all());
    all.extend(run(words(&["health", "--addr", &health])).await.all());
    let wrong = wrong(world).into_iter().map(|text| async move {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wrong.toml");
        fs::write(&path, text).unwrap();
        run(words(&[
            "serve",
            "--check-config",
            "--config",
            path.to_str().unwrap(),
        ]))
        .await
        .all()
    });
    all.extend(join_all(wrong).await.concat());
    all
}

/// Runs a command with the broker's settings, and returns what it printed.
pub async fn of_the_settings(world: &World, command: &str) -> Printed {
    let mut args: Vec<_> = command.split(' ').map(String::from).collect();
    args.extend(["--config".to_owned(), world.file("broker.toml")]);
    args.extend(["--log-level", "trace"].map(String::from));
    run(args).await
}

/// Returns configurations with secrets where something else should be.
fn wrong(world: &World) -> Vec<String> {
    let good = fs::read_to_string(world.file("broker.toml")).unwrap();
    let secrets = &world.secrets;
    let (mut all, texts) = (Vec::new(), contents(secrets));
    // What belongs into another file, or is damaged.
    for (name, numbers) in [
        ("tls-cert", &[0, 1, 2][..]),
        ("tls-key", &[1, 2]),
        ("client-ca", &[0, 1]),
        ("policy", &[0, 2, 6, 7, 8, 9, 10, 11]),
        ("seal-keys", &[0, 2, 3, 4, 5]),
        ("audit-key-file", &[2, 5]),
        ("redis-password-file", &[12]),
    ] {
        for number in numbers {
            let path = Path::new(&world.file("wrong")).join(format!("{name}-{number}"));
            world.write_at(&path, &texts[*number]);
            let begin = format!("{name} = ");
            let line = good.lines().find(|line| line.starts_with(&begin));
            all.push(good.replace(line.unwrap(), &format!("{begin}\"{}\"", path.display())));
        }
    }
    for secret in [&secrets.redis_password] {
        for line in [
            format!("listen = \"{secret}\""),
            format!("log-level = \"{secret}\""),
            format!("tenant = \"{secret}\""),
            format!("call-timeout = \"{secret}\""),
            format!("client-secret = \"{secret}\""),
            format!("redis-password = [\"{secret}\"]"),
            secret.clone(),
            format!("redis-password = \"{secret}"),
            format!("{secret} = 1"),
        ] {
            let (key, _) = line.split_once(" = ").unwrap_or((&line, ""));
            let others = good
                .lines()
                .filter(|other| !other.starts_with(&format!("{key} = ")));
            let others: Vec<_> = others.collect();
            all.push(format!("{line}\n{}", others.join("\n")));
            all.push(format!("{}\n{line}\n", others.join("\n")));
        }
        let url = format!("redis-url = \"redis://:{secret}@\"");
        all.push(good.replace("redis-url = ", &format!("{url}\n#")));
    }
    all
}

/// Returns texts that hold secrets, and that no file should have.
pub fn contents(secrets: &Secrets) -> Vec<String> {
    let bearer = &secrets.bearer;
    let line = secrets.sealing_line();
    let head = "[callers.a]\nroles = [\"sidecar\"]\nproviders = \"*\"\n";
    vec![
        secrets.server.key.clone(),
        secrets.server.key.replace("PRIVATE KEY", "CERTIFICATE"),
        bearer.clone(),
        format!("{line}{line}"),
        line.replace([':', ' '], ""),
        format!("{}{}", line.trim_end(), secrets.session),
        format!("{head}bearer-sha256 = [\"{bearer}\"]\n"),
        format!("{head}bearer-sha256 = \"{bearer}\n"),
        format!("{head}bearer = \"{bearer}\"\n"),
        format!("{head}{bearer} = \"x\"\n"),
        format!("{head}dns-names = [\"*.{bearer}\", \"{bearer}/\", 7]\n"),
        format!("[callers.b]\nroles = [\"{bearer}\"]\nproviders = [\"{bearer}\\n\"]\n"),
        format!("{}\n{}\n", secrets.redis_password, secrets.client_secret),
    ]
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

async fn run(args: Vec<String>) -> Printed {
    let mut command = program();
    command.args(&args);
    let output = output(command).await;
    let code = output.status.code();
    let head = format!("\n$ {} ({code:?})\n", args.join(" "));
    Printed {
        stdout: [head.into_bytes(), output.stdout].concat(),
        stderr: output.stderr,
    }
}
