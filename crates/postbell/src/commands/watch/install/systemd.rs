//! A service of systemd's user manager (systemd.service(5)).

use std::path::PathBuf;

use super::call::Call;
use super::{Process, Service};

pub(super) fn file(service: &Service) -> PathBuf {
    let folder = service.config_home.join("systemd/user");
    folder.join(format!("{}.service", service.name))
}

pub(super) fn text(process: &Process) -> String {
    let command: Vec<_> = process
        .command
        .iter()
        .map(|word| quoted(word).replace('$', "$$"))
        .collect();
    let variables: String = process
        .variables
        .iter()
        .map(|(name, value)| format!("Environment={}\n", quoted(&format!("{name}={value}"))))
        .collect();
    format!(
        "# Written by `postbell watch install`. Secrets are in CREDENTIALS_DIRECTORY.
[Unit]
Description=Postbell watcher
Documentation=https://github.com/postbell/postbell/blob/main/docs/services.md
StartLimitIntervalSec=0

[Service]
Type=notify
{variables}ExecStart={}
Restart=always
RestartSec=10
RestartPreventExitStatus=2 78
TimeoutStartSec=2min
WatchdogSec=2min
NoNewPrivileges=yes
UMask=0077

[Install]
WantedBy=default.target
",
        command.join(" ")
    )
}

/// Quotes a word (systemd.syntax(7)). Units expand specifiers that begin with `%`, also in quotes.
fn quoted(word: &str) -> String {
    let escape = |character: char| match character {
        '"' => "\\\"".to_owned(),
        '\\' => "\\\\".to_owned(),
        '%' => "%%".to_owned(),
        '\n' => "\\n".to_owned(),
        other => other.to_string(),
    };
    let escaped: String = word.chars().map(escape).collect();
    format!("\"{escaped}\"")
}

pub(super) fn check_call() -> Call {
    user(&["show-environment"])
}

pub(super) fn start_calls(service: &Service) -> Vec<Call> {
    let unit = unit(service);
    vec![
        user(&["daemon-reload"]),
        user(&["enable", &unit]),
        // Also starts it. Returns once the watcher is ready, or has failed.
        user(&["restart", &unit]),
    ]
}

pub(super) fn stop_calls(service: &Service) -> Vec<Call> {
    vec![user(&["disable", "--now", &unit(service)])]
}

pub(super) fn forget_calls() -> Vec<Call> {
    vec![user(&["daemon-reload"])]
}

pub(super) fn status_command(service: &Service) -> String {
    format!("systemctl --user status {}", service.name)
}

pub(super) fn log_hint(service: &Service) -> String {
    format!("Its log: journalctl --user -u {} -f", service.name)
}

fn unit(service: &Service) -> String {
    format!("{}.service", service.name)
}

fn user(arguments: &[&str]) -> Call {
    Call::new("systemctl", &[&["--user"], arguments].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_unit_are_quoted_and_not_expanded() {
        let (service, process) = super::super::tests::service();
        let text = text(&process);
        let expected =
            r#"ExecStart="/opt/my bell/postbell" "watch" "pull" "--query=50%% off & \"$$1\"""#;
        assert!(text.contains(expected), "{text}");
        assert!(
            text.contains("Environment=\"CREDENTIALS_DIRECTORY=/home/ann/50%%\"\n"),
            "{text}"
        );
        let expected =
            "/home/ann/.config/systemd/user/postbell-watch-ann_2bbot@example.com.service";
        assert_eq!(file(&service), PathBuf::from(expected));
    }
}
