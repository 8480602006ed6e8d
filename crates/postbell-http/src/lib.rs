//! HTTP as every part of Postbell uses it: a server and a client that are bounded in time and size,
//! and the checks of secrets that requests show.
//!
//! This crate knows no route of a part. Start reading at `server.rs`.

mod auth;
mod body;
mod client;
mod http_client;
mod listener;
mod public_address;
mod redacted;
mod request_problem;
mod response;
mod retry_after;
mod server;
mod tls;
mod trace;

pub use auth::{bearer_token, constant_time_eq, shown_tokens};
pub use body::{
    BodyError, ResponseError, drain, drain_body, read_body, read_error, read_error_body,
    read_response,
};
pub use client::{
    ClientError, NoCaCertificates, client, client_with_tls_info, health_check_client,
    public_client, require_ca_certificates,
};
pub use http_client::{HttpClient, RequestError, ResponseBody, next_chunk, request_uri};
pub use listener::{InvalidListenAddress, ListenAddress, ListenError, Listener};
pub use public_address::{is_loopback, is_not_public, is_public};
pub use redacted::{redacted, redacted_text};
pub use request_problem::request_problem;
pub use response::{error_response, health};
pub use retry_after::retry_after;
pub use server::{App, ClientAddress, serve, serve_at_most};
pub use tls::{AcmeSettings, CertificateFiles, CertificateProblem, Tls};
pub use trace::{TRACEPARENT, trace_context};
