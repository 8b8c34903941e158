//! The floor: a bare server that answers the same bytes, with tonic and the runtime as most programs use them.
//!
//! It is this executable, run again. It keeps nothing and looks at nothing. What the broker costs beyond it is what the
//! broker does itself.

use std::{
    env,
    io::{BufRead, BufReader, Read},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    thread,
};

use prost_types::Timestamp;
use token_broker::proto::v1::{
    AccessToken, BeginRefreshRequest, BeginRefreshResponse, CompleteRefreshRequest,
    CompleteRefreshResponse, DeleteRequest, DeleteResponse, DeleteUserRequest, DeleteUserResponse,
    GetAccessTokenRequest, GetAccessTokenResponse, GetAllAccessTokensRequest,
    GetAllAccessTokensResponse, GetAllRequest, GetAllResponse, GetLatestForUserRequest,
    GetLatestForUserResponse, GetRequest, GetResponse, ListUserSessionsRequest,
    ListUserSessionsResponse, RenewRefreshRequest, RenewRefreshResponse, StoreRequest,
    StoreResponse, TokenEntry,
    access_tokens_server::{AccessTokens, AccessTokensServer},
    token_broker_server::{TokenBroker, TokenBrokerServer},
};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use crate::rows::{self, Key, PROVIDERS};

/// The variable that makes this executable the echo.
const ROLE: &str = "LOAD_ECHO";

/// A running echo, which ends when it is dropped, and when this process ends.
pub(crate) struct Echo {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Echo {
    pub(crate) fn start() -> Self {
        let mut process = Command::new(env::current_exe().unwrap())
            .env(ROLE, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut address = String::new();
        let mut output = BufReader::new(process.stdout.take().unwrap());
        output.read_line(&mut address).unwrap();
        Self {
            process,
            address: address.trim().parse().unwrap(),
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

/// Serves until standard input ends, if this process was started as the echo. Returns `false` if it wasn't.
pub(crate) fn serve() -> bool {
    if env::var_os(ROLE).is_none() {
        return false;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = { runtime }.enable_all().build().unwrap();
    runtime.block_on(async {
        let free = "127.0.0.1:0".parse().unwrap();
        let incoming = TcpIncoming::bind(free).unwrap().with_nodelay(Some(true));
        println!("{}", incoming.local_addr().unwrap());
        let (ended, end) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            std::io::stdin().read_to_end(&mut Vec::new()).ok();
            ended.send(())
        });
        Server::builder()
            .add_service(TokenBrokerServer::new(Answers::new()))
            .add_service(AccessTokensServer::new(Answers::new()))
            .serve_with_incoming_shutdown(incoming, async { drop(end.await) })
            .await
            .unwrap();
    });
    true
}

/// The answers, which are always the same.
struct Answers {
    get: GetResponse,
    get_all: GetAllResponse,
    access: GetAccessTokenResponse,
    store: StoreResponse,
}

impl Answers {
    fn new() -> Self {
        Self {
            get: GetResponse {
                entry: Some(entry(0)),
            },
            get_all: GetAllResponse {
                entries: (0..PROVIDERS)
                    .map(|provider| (rows::provider_name(provider), entry(provider)))
                    .collect(),
                unreadable: Vec::new(),
            },
            access: GetAccessTokenResponse {
                token: Some(access_token()),
            },
            store: StoreResponse { version: VERSION },
        }
    }
}

/// Most versions are as long as this one.
const VERSION: u64 = 1 << 52;

fn entry(provider: u32) -> TokenEntry {
    let row = Key {
        session: 0,
        provider,
    };
    let mut tokens = rows::store(row).tokens.unwrap();
    "Bearer".clone_into(&mut tokens.token_type);
    tokens.provider = rows::provider_name(provider);
    tokens.updated_at = Some(Timestamp {
        seconds: tokens.expires_at.unwrap().seconds,
        nanos: 0,
    });
    TokenEntry {
        tokens: Some(tokens),
        version: VERSION,
        ..TokenEntry::default()
    }
}

fn access_token() -> AccessToken {
    let tokens = entry(0).tokens.unwrap();
    AccessToken {
        access_token: tokens.access_token,
        token_type: tokens.token_type,
        scopes: tokens.scopes,
        expires_at: tokens.expires_at,
        version: VERSION,
        id_token: String::new(),
    }
}

#[tonic::async_trait]
impl AccessTokens for Answers {
    async fn get_access_token(
        &self,
        _: Request<GetAccessTokenRequest>,
    ) -> Result<Response<GetAccessTokenResponse>, Status> {
        Ok(Response::new(self.access.clone()))
    }

    async fn get_all_access_tokens(
        &self,
        _: Request<GetAllAccessTokensRequest>,
    ) -> Result<Response<GetAllAccessTokensResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

#[tonic::async_trait]
impl TokenBroker for Answers {
    async fn store(&self, _: Request<StoreRequest>) -> Result<Response<StoreResponse>, Status> {
        Ok(Response::new(self.store))
    }

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        Ok(Response::new(self.get.clone()))
    }

    async fn get_all(&self, _: Request<GetAllRequest>) -> Result<Response<GetAllResponse>, Status> {
        Ok(Response::new(self.get_all.clone()))
    }

    async fn delete(&self, _: Request<DeleteRequest>) -> Result<Response<DeleteResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_user(
        &self,
        _: Request<DeleteUserRequest>,
    ) -> Result<Response<DeleteUserResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_latest_for_user(
        &self,
        _: Request<GetLatestForUserRequest>,
    ) -> Result<Response<GetLatestForUserResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn list_user_sessions(
        &self,
        _: Request<ListUserSessionsRequest>,
    ) -> Result<Response<ListUserSessionsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn begin_refresh(
        &self,
        _: Request<BeginRefreshRequest>,
    ) -> Result<Response<BeginRefreshResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn renew_refresh(
        &self,
        _: Request<RenewRefreshRequest>,
    ) -> Result<Response<RenewRefreshResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn complete_refresh(
        &self,
        _: Request<CompleteRefreshRequest>,
    ) -> Result<Response<CompleteRefreshResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}
