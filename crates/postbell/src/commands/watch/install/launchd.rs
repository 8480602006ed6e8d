//! An agent of macOS's launchd (launchd.plist(5), launchctl(1)).

use std::path::PathBuf;

use super::call::Call;
use super::{Process, Service};

/// How often an agent is loaded, a second apart. launchd ends the old one within 20 seconds (`ExitTimeOut` in
/// launchd.plist(5)).
const TRIES: u32 = 25;

pub(super) fn file(service: &Service) -> PathBuf {
    let folder = service.home.join("Library/LaunchAgents");
    folder.join(format!("{}.plist", service.name))
}

pub(super) fn log(service: &Service) -> PathBuf {
    let folder = service.home.join("Library/Logs");
    folder.join(format!("{}.log", service.name))
}

pub(super) fn text(service: &Service, process: &Process) -> String {
    let word = |word: &String| format!("    <string>{}</string>\n", escaped(word));
    let command: String = process.command.iter().map(word).collect();
    let variable = |(name, value): &(&str, String)| {
        format!(
            "    <key>{name}</key>\n    <string>{}</string>\n",
            escaped(value)
        )
    };
    let variables: String = process.variables.iter().map(variable).collect();
    format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">
<!-- Written by `postbell watch install`. Secrets are in CREDENTIALS_DIRECTORY. -->
<plist version="1.0">
<dict>
  <key>Label</key>
  <string>{}</string>
  <key>ProgramArguments</key>
  <array>
{command}  </array>
  <key>EnvironmentVariables</key>
  <dict>
{variables}  </dict>
  <key>RunAtLoad</key>
  <true/>
  <key>KeepAlive</key>
  <true/>
  <key>ThrottleInterval</key>
  <integer>10</integer>
  <key>StandardErrorPath</key>
  <string>{}</string>
</dict>
</plist>
"#,
        escaped(&service.name),
        escaped(&log(service).display().to_string())
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
}

pub(super) fn start_calls(service: &Service) -> Vec<Call> {
    let file = file(service).display().to_string();
    let mut calls = stop_calls(service);
    let bootstrap = Call::new("launchctl", &["bootstrap", &domain(service), &file]);
    // `bootout` returns before the agent has ended, and until then this fails.
    calls.push(bootstrap.tries(TRIES));
    calls
}

pub(super) fn stop_calls(service: &Service) -> Vec<Call> {
    let target = format!("{}/{}", domain(service), service.name);
    // It fails if the agent is not loaded.
    vec![Call::new("launchctl", &["bootout", &target]).may_fail()]
}

pub(super) fn status_command(service: &Service) -> String {
    format!("launchctl print {}/{}", domain(service), service.name)
}

fn domain(service: &Service) -> String {
    format!("gui/{}", service.uid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_is_a_property_list_with_its_words_escaped() {
        let (service, process) = super::super::tests::service();
        let text = text(&service, &process);
        assert!(
            text.contains("    <string>--query=50% off &amp; \"$1\"</string>\n"),
            "{text}"
        );
        assert!(
            text.contains("<string>/opt/my bell/postbell</string>"),
            "{text}"
        );
        let log =
            "<string>/home/ann/Library/Logs/postbell-watch-ann_2bbot@example.com.log</string>";
        assert!(text.contains(log), "{text}");
    }

    #[test]
    fn an_agent_that_is_loaded_is_replaced() {
        let (service, _) = super::super::tests::service();
        let shown = |call: &Call| (call.arguments.join(" "), call.may_fail, call.tries);
        let calls: Vec<_> = start_calls(&service).iter().map(shown).collect();
        let label = "postbell-watch-ann_2bbot@example.com";
        let file = format!("/home/ann/Library/LaunchAgents/{label}.plist");
        let expected = [
            (format!("bootout gui/1000/{label}"), true, 1),
            (format!("bootstrap gui/1000 {file}"), false, TRIES),
        ];
        assert_eq!(calls, expected);
    }
}
