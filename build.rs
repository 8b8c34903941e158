//! Compiles `proto/` with protox, a compiler in Rust, so that the machine needs no `protoc`.

use std::{env, error::Error, fs, path::PathBuf};

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_types::{DescriptorProto, FileDescriptorSet};

#[path = "src/proto/harmless.rs"]
mod harmless;

/// The proto files: one per gRPC service, and what the services share.
const PROTOS: [&str; 5] = [
    "tokenbroker/v1/access_tokens.proto",
    "tokenbroker/v1/error_reason.proto",
    "tokenbroker/v1/identities.proto",
    "tokenbroker/v1/pending_authorizations.proto",
    "tokenbroker/v1/token_broker.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=proto");
    println!("cargo::rerun-if-changed=src/proto/harmless.rs");

    let mut compiler = protox::Compiler::new(["proto"])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(PROTOS)?;
    let descriptors = compiler.file_descriptor_set();

    // Reflection serves the whole set, imports included.
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(
        out_dir.join("tokenbroker.v1.bin"),
        compiler.encode_file_descriptor_set(),
    )?;

    let messages = generated(&descriptors, "tokenbroker.v1");
    let silent: Vec<_> = messages
        .iter()
        .filter(|message| !harmless::HARMLESS.contains(&message.outermost.as_str()))
        .collect();
    fs::write(out_dir.join("silent.rs"), debug_impls(&silent))?;
    fs::write(out_dir.join("printed.rs"), printed(&messages))?;

    tonic_prost_build::configure()
        .skip_debug(silent.iter().map(|message| format!(".{}", message.name)))
        .compile_fds(descriptors)?;
    Ok(())
}

/// A message, and the types that are generated for it.
struct Message {
    /// The full name, such as `tokenbroker.v1.DeleteRequest`.
    name: String,
    /// The short name of the outermost message that it is nested in, or its own short name.
    outermost: String,
    /// The path of the generated struct.
    path: String,
    /// The oneofs: each field of the struct, and the path of its generated enum.
    oneofs: Vec<(String, String)>,
    /// The paths of the generated enums that are nested in it. prost skips their `Debug` too.
    enums: Vec<String>,
}

/// Returns the messages of a package, nested ones included.
fn generated(descriptors: &FileDescriptorSet, package: &str) -> Vec<Message> {
    let mut found = Vec::new();
    for file in descriptors.file.iter().filter(|f| f.package() == package) {
        for message in &file.message_type {
            walk(message, package, "", message.name(), &mut found);
        }
    }
    found
}

fn walk(
    message: &DescriptorProto,
    package: &str,
    module: &str,
    outermost: &str,
    found: &mut Vec<Message>,
) {
    let name = format!("{package}.{}", message.name());
    // `r#`, because a name may be a keyword in Rust.
    let inner = format!("{module}r#{}::", message.name().to_snake_case());
    let oneof = |(at, oneof): (usize, &prost_types::OneofDescriptorProto)| {
        // An `optional` field is in a oneof of its own, for which no type is generated.
        let real = message
            .field
            .iter()
            .any(|field| field.oneof_index == i32::try_from(at).ok() && !field.proto3_optional());
        let path = format!("{inner}{}", oneof.name().to_upper_camel_case());
        real.then(|| (oneof.name().to_snake_case(), path))
    };
    found.push(Message {
        outermost: outermost.to_owned(),
        path: format!("{module}{}", message.name().to_upper_camel_case()),
        oneofs: message
            .oneof_decl
            .iter()
            .enumerate()
            .filter_map(oneof)
            .collect(),
        enums: message
            .enum_type
            .iter()
            .map(|e| format!("{inner}{}", e.name().to_upper_camel_case()))
            .collect(),
        name: name.clone(),
    });
    let is_map_entry = |m: &DescriptorProto| m.options.as_ref().is_some_and(|o| o.map_entry());
    for nested in message.nested_type.iter().filter(|m| !is_map_entry(m)) {
        walk(nested, &name, &inner, outermost, found);
    }
}

/// Returns, for each type of the messages, an implementation of `Debug` that prints only its name.
fn debug_impls(messages: &[&Message]) -> String {
    let paths = messages.iter().flat_map(|message| {
        let oneofs = message.oneofs.iter().map(|(_, path)| path);
        [&message.path]
            .into_iter()
            .chain(oneofs)
            .chain(&message.enums)
    });
    paths
        .map(|path| {
            let name = path.rsplit("::").next().unwrap_or(path);
            format!(
                "impl ::core::fmt::Debug for {path} {{\n    \
                     fn fmt(&self, f: &mut ::core::fmt::Formatter<'_>) -> ::core::fmt::Result {{\n        \
                         f.write_str(\"{name}(***)\")\n    \
                     }}\n\
                 }}\n"
            )
        })
        .collect()
}

/// Returns the source of a function for tests that decodes a message into its type and prints it.
fn printed(messages: &[Message]) -> String {
    let arms: String = messages
        .iter()
        .map(|message| {
            let oneofs: String = message
                .oneofs
                .iter()
                .map(|(field, _)| format!(" + &format!(\" {{:?}}\", message.r#{field})"))
                .collect();
            format!(
                "        {:?} => {{\n            \
                     let message = {}::decode(bytes)?;\n            \
                     Ok(format!(\"{{message:?}}\"){oneofs})\n        \
                 }}\n",
                message.name, message.path
            )
        })
        .collect();
    format!(
        "pub(crate) fn printed(message: &str, bytes: &[u8]) -> Result<String, ::prost::DecodeError> {{\n    \
             use ::prost::Message as _;\n    \
             match message {{\n\
             {arms}        \
                 other => panic!(\"{{other}} isn't generated\"),\n    \
             }}\n\
         }}\n"
    )
}
