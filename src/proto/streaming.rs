//! Finds the streaming methods in descriptors.

use std::collections::HashSet;

use prost::{DecodeError, Message as _};
use prost_types::{FileDescriptorProto, FileDescriptorSet};

/// Returns the paths of all methods in the encoded descriptor `sets` whose response is a stream, such
/// as `/grpc.health.v1.Health/Watch`.
///
/// # Errors
/// Returns an error if a set can't be decoded.
pub fn streaming_methods(sets: &[&[u8]]) -> Result<HashSet<String>, DecodeError> {
    let mut methods = HashSet::new();
    for set in sets {
        let set = FileDescriptorSet::decode(*set)?;
        methods.extend(set.file.iter().flat_map(of_file));
    }
    Ok(methods)
}

fn of_file(file: &FileDescriptorProto) -> impl Iterator<Item = String> {
    file.service.iter().flat_map(|service| {
        let streaming = service.method.iter().filter(|m| m.server_streaming());
        streaming.map(|method| format!("/{}.{}/{}", file.package(), service.name(), method.name()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proto::v1;

    #[test]
    fn streams_are_distinguished_from_unary_methods() {
        let sets = [
            v1::FILE_DESCRIPTOR_SET,
            tonic_health::pb::FILE_DESCRIPTOR_SET,
            tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        ];
        let expected = [
            "/grpc.health.v1.Health/Watch",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        ];
        let expected = HashSet::from(expected.map(str::to_owned));
        assert_eq!(streaming_methods(&sets), Ok(expected));
    }
}
