//! The generated code of `proto/`, apart from what is written by hand.

/// Package `tokenbroker.v1`.
#[allow(missing_docs, clippy::all)]
pub mod v1 {
    tonic::include_proto!("tokenbroker.v1");

    /// The compiled protos, for reflection.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/tokenbroker.v1.bin"));
}

/// Gives messages that carry a token or a session id a `Debug` that prints their name only.
macro_rules! silent_debug {
    ($($message:ident),* $(,)?) => {$(
        impl std::fmt::Debug for v1::$message {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(concat!(stringify!($message), "(***)"))
            }
        }
    )*};
}

silent_debug!(
    UpstreamTokens,
    TokenEntry,
    StoreRequest,
    GetRequest,
    GetResponse,
    GetAllRequest,
    GetAllResponse,
    DeleteRequest,
    GetLatestForUserResponse,
    UserSession,
    ListUserSessionsRequest,
    ListUserSessionsResponse,
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_with_secrets_do_not_print() {
        let tokens = v1::UpstreamTokens {
            access_token: "gho_16C7".to_owned(),
            ..Default::default()
        };
        let store = v1::StoreRequest {
            session_id: "tsid-1".to_owned(),
            tokens: Some(tokens),
            ..Default::default()
        };
        let printed = format!("{store:?} {:?}", store.tokens);
        assert_eq!(printed, "StoreRequest(***) Some(UpstreamTokens(***))");
    }
}
