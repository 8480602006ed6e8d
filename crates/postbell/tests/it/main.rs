//! Whole paths against the sandbox: that the parts are joined, and that nothing is lost between
//! them.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod alerts;
mod architecture;
mod backup;
mod browser;
mod cli;
mod config_init;
mod controller;
mod demo;
mod directory;
mod doctor;
mod doctor_faults;
mod doctor_hostile;
mod doctor_local;
mod healthcheck;
mod listen;
mod operator;
mod platform;
mod postgres;
mod push_to_hook;
mod read_only;
mod reconcile;
mod serve;
mod service_manager;
mod settings_page;
mod setup;
mod setup_answers;
mod setup_platform;
mod several_accounts;
mod soak;
mod support;
mod telemetry;
mod terminal;
mod users;
mod users_anywhere;
mod watch;
mod watch_account;
mod watch_alerts;
mod watch_extras;
mod watch_gog;
mod watch_install;
mod watch_status;
mod watch_tables;
mod watch_tables_commands;
