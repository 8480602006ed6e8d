//! The metrics that `deploy/` names.

/// What operators load: the alerting rules and the dashboard.
const NAMED_IN: [&str; 2] = [
    include_str!("../../../deploy/prometheus/alerts.yaml"),
    include_str!("../../../deploy/grafana/postbell.json"),
];

/// The endings of samples (<https://prometheus.io/docs/specs/om/open_metrics_spec/#suffixes>).
const SUFFIXES: [&str; 4] = ["_total", "_bucket", "_count", "_sum"];

/// Panics unless a process's answer has every metric with this prefix that the alerting rules and the dashboard
/// name.
pub fn assert_has_named_metrics(answer: &str, prefix: &str) {
    let is_of_name = |byte: char| byte.is_ascii_alphanumeric() || byte == '_';
    let words = NAMED_IN
        .iter()
        .flat_map(|text| text.split(|byte| !is_of_name(byte)));
    let mut found = 0;
    for name in words.filter(|word| word.starts_with(prefix)) {
        let suffix = SUFFIXES.iter().find_map(|suffix| name.strip_suffix(suffix));
        let family = format!("# TYPE {} ", suffix.unwrap_or(name));
        assert!(answer.contains(&family), "{name} is not there:\n{answer}");
        found += 1;
    }
    assert!(found > 0, "nothing is named {prefix}…");
}
