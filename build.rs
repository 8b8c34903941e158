//! Compiles `proto/` with protox, a compiler in Rust, so that no `protoc` is needed on the machine.

use std::{env, error::Error, fs, path::PathBuf};

/// One file a gRPC service.
const PROTOS: [&str; 1] = ["tokenbroker/v1/token_broker.proto"];

/// Messages that carry a token or a session id. They get no derived `Debug`, which would print
/// it; `src/proto.rs` gives them one that prints the name of the message only.
const SECRET_MESSAGES: [&str; 12] = [
    "UpstreamTokens",
    "TokenEntry",
    "StoreRequest",
    "GetRequest",
    "GetResponse",
    "GetAllRequest",
    "GetAllResponse",
    "DeleteRequest",
    "GetLatestForUserResponse",
    "UserSession",
    "ListUserSessionsRequest",
    "ListUserSessionsResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(PROTOS)?;

    // Reflection serves the whole set, imports included.
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out_dir.join("tokenbroker.v1.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    tonic_prost_build::configure()
        .skip_debug(SECRET_MESSAGES.map(|message| format!(".tokenbroker.v1.{message}")))
        .compile_fds(compiler.file_descriptor_set())?;
    Ok(())
}
