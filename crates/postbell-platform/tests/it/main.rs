//! The platform's API through its router, with Fly's Machines over real HTTP.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod accounts;
mod admin;
mod alerts;
mod audit;
mod check_in;
mod connect;
mod document;
mod fly;
mod grants;
mod issuer;
mod live;
mod machine_accounts;
mod machine_config;
mod mailbox_users;
mod matrix;
mod my_bot;
mod operator;
mod operator_api;
mod pages;
mod reconciler;
mod relays;
mod rules;
mod sign_in;
mod test_browser;
mod test_platform;
mod wake;
