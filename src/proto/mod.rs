//! The code that is generated from `proto/`, kept apart from code that is written by hand.
//!
//! The `Debug` of a generated message prints only its name, so that no log line and no panic shows a
//! token or a session id. `harmless.rs` lists the exceptions.

#[cfg(test)]
mod harmless;
#[cfg(test)]
mod silence;
mod streaming;

pub use streaming::streaming_methods;

/// Package `tokenbroker.v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("tokenbroker.v1");
    tonic::include_proto!("silent");

    /// The encoded descriptors of the package, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/tokenbroker.v1.bin"));

    #[cfg(test)]
    tonic::include_proto!("printed");
}
