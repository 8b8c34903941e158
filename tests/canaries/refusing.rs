//! A server whose answers tell everything, each in one place.

use http::HeaderName;
use tonic::{
    Code, Response, Status,
    codegen::http,
    metadata::{MetadataMap, MetadataValue},
    transport::Endpoint,
};

use crate::{
    caller::{Caller, Told},
    raw_service::{RawService, serve},
};

/// A place in an answer that isn't its message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Text,
    Details,
    Header,
    BinaryHeader,
    /// Of an answer that is no error.
    HeaderOfSuccess,
}

/// All of them.
pub const PLACES: [Place; 5] = [
    Place::Text,
    Place::Details,
    Place::Header,
    Place::BinaryHeader,
    Place::HeaderOfSuccess,
];

/// The server.
#[derive(Clone)]
pub struct Refusing {
    pub place: Place,
    /// What it tells.
    pub text: String,
}

impl Refusing {
    /// Starts it, and returns a caller of it.
    pub async fn caller(self, told: &Told) -> Caller {
        let endpoint = Endpoint::from_shared(serve(self).await).unwrap();
        Caller::over(endpoint.connect_lazy(), told)
    }

    fn headers(&self) -> MetadataMap {
        let mut headers = http::HeaderMap::new();
        let name = HeaderName::from_static("x-told");
        headers.insert(name, self.text.parse().unwrap());
        MetadataMap::from_headers(headers)
    }
}

impl RawService for Refusing {
    const NAME: &'static str = "tokenbroker.v1.TokenBroker";

    fn answer(&self, _: Vec<u8>) -> Result<Response<Vec<u8>>, Status> {
        let (code, text) = (Code::Internal, self.text.clone());
        match self.place {
            Place::Text => Err(Status::new(code, text)),
            Place::Details => Err(Status::with_details(code, "", text.into_bytes().into())),
            Place::Header => Err(Status::with_metadata(code, "", self.headers())),
            Place::BinaryHeader => {
                let mut headers = MetadataMap::new();
                headers.insert_bin("x-told-bin", MetadataValue::from_bytes(text.as_bytes()));
                Err(Status::with_metadata(code, "", headers))
            }
            Place::HeaderOfSuccess => {
                let mut answer = Response::new(Vec::new());
                *answer.metadata_mut() = self.headers();
                Ok(answer)
            }
        }
    }
}
