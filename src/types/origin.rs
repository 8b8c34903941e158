//! Where tokens come from.

/// Where refresh tokens were obtained: an issuer or token endpoint, and a client there. A refresh token is of use there
/// and nowhere else.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The issuer, or the token endpoint where no issuer is configured.
    pub server: String,
    /// The id of the client.
    pub client_id: String,
}

impl Origin {
    /// Takes an origin from stored data, where an empty text is one that is missing. Returns `None` if both are. One
    /// that lacks a part is the origin of no provider.
    #[must_use]
    pub fn from_stored(server: String, client_id: String) -> Option<Self> {
        let known = !server.is_empty() || !client_id.is_empty();
        known.then_some(Self { server, client_id })
    }

    /// Returns the bytes of its texts.
    #[must_use]
    pub fn size(&self) -> usize {
        self.server.len() + self.client_id.len()
    }
}
