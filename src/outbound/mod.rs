//! Requests over HTTP to other services: one connection, one request, one bounded answer.
//!
//! Nothing here sends a request twice, follows a redirect or keeps a connection for another request. Who asks decides
//! what an answer means, and whether to ask again.
//!
//! | file | what it is |
//! |---|---|
//! | `endpoint.rs` | addresses that secrets may be sent to |
//! | `tls.rs` | whom the other end is vouched for by, and the certificate that it is shown |
//! | `connect.rs` | one connection, through a proxy where one is set |
//! | `exchange.rs`, `counted.rs` | one request and its answer; whether the request left whole |
//! | `basic.rs`, `body.rs` | credentials and bodies, wiped when they are sent |
//! | `fault.rs` | words for what went wrong, none of them the other end's |

mod basic;
mod body;
mod connect;
mod counted;
mod endpoint;
mod exchange;
mod fault;
mod tls;

pub(crate) use self::{
    basic::{basic, secret_header},
    body::secret_body,
    connect::{Connection, Way},
    exchange::{Failure, exchange},
    tls::{TlsPart, TlsProblem, config as tls_config},
};
pub use self::{
    endpoint::{Endpoint, Proxy},
    exchange::Reply,
    fault::Fault,
};
