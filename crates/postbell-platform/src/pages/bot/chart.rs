//! The deliveries of the last 24 hours as an SVG chart with a bar per hour.

use std::time::Duration;

use maud::{Markup, html};
use postbell_core::{HOURS_COUNTED, HourlyCount, Timestamp};

use crate::pages::format::count;

const BAR: i64 = 20;
const GAP: i64 = 6;
const HEIGHT: u32 = 96;
const HOUR: Duration = Duration::from_secs(60 * 60);

/// Renders the chart.
pub(super) fn chart(hours: &[HourlyCount], now: Timestamp) -> Markup {
    let delivered: u64 = hours.iter().map(|hour| u64::from(hour.delivered)).sum();
    let failed: u64 = hours.iter().map(|hour| u64::from(hour.failed)).sum();
    let text = summary(delivered, failed);
    let width = HOURS_COUNTED * (BAR + GAP) - GAP;
    let most = hours
        .iter()
        .map(|hour| hour.delivered + hour.failed)
        .max()
        .unwrap_or(0);
    let last = HourlyCount::hour_number(now);
    html! {
        div class="card-head" {
            h2 { "Last 24 hours" }
            p class="hint" { (text) }
        }
        svg class="chart" viewBox={ "0 0 " (width) " " (HEIGHT) } role="img"
            aria-label={ "Deliveries of the last 24 hours: " (text) } {
            @for index in 0..HOURS_COUNTED {
                @let number = last - HOURS_COUNTED + 1 + index;
                @let hour = hours.iter().find(|hour| HourlyCount::hour_number(hour.begins_at) == number);
                (bar(index, hour.copied().unwrap_or(HourlyCount::of_hour(number)), most, now))
            }
        }
        div class="chart-ends" aria-hidden="true" { span { "24 h ago" } span { "now" } }
    }
}

fn summary(delivered: u64, failed: u64) -> String {
    match (delivered, failed) {
        (0, 0) => "no deliveries".to_owned(),
        (_, 0) => format!("{delivered} delivered"),
        _ => format!(
            "{delivered} delivered, {}",
            count(failed, "failed attempt", "failed attempts")
        ),
    }
}

/// One bar: failed attempts on top of deliveries; a line if there were neither.
fn bar(index: i64, hour: HourlyCount, most: u32, now: Timestamp) -> Markup {
    let x = index * (BAR + GAP);
    let height = |number: u32| (number * HEIGHT).div_ceil(most.max(1));
    let (delivered, failed) = (height(hour.delivered), height(hour.failed));
    let delivered = delivered.min(HEIGHT.saturating_sub(failed));
    let age = (now - hour.begins_at).as_secs() / HOUR.as_secs();
    html! {
        g {
            title { (format!("{age} h ago: {}", summary(hour.delivered.into(), hour.failed.into()))) }
            @if delivered + failed == 0 {
                rect class="bar-none" x=(x) y=(HEIGHT - 2) width=(BAR) height="2" rx="1" {}
            }
            @if delivered > 0 {
                rect class="bar-good" x=(x) y=(HEIGHT - delivered) width=(BAR) height=(delivered) rx="3" {}
            }
            @if failed > 0 {
                rect class="bar-bad" x=(x) y=(HEIGHT - delivered - failed) width=(BAR) height=(failed) rx="3" {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn a_chart_has_a_text_alternative() {
        let hour = HourlyCount {
            delivered: 3,
            failed: 1,
            ..HourlyCount::of_hour(HourlyCount::hour_number(NOW))
        };
        let drawn = chart(&[hour], NOW).into_string();
        assert!(drawn.contains("3 delivered, 1 failed attempt"), "{drawn}");
        assert_eq!(drawn.matches("<g>").count(), 24);
        assert_eq!(drawn.matches("bar-none").count(), 23);
        assert!(
            !drawn.contains("style="),
            "the policy forbids inline styles"
        );
    }

    #[test]
    fn a_day_without_deliveries_is_rendered() {
        let drawn = chart(&[], NOW).into_string();
        assert!(drawn.contains("no deliveries"));
        assert_eq!(drawn.matches("bar-none").count(), 24);
    }

    #[test]
    fn no_bar_exceeds_the_chart() {
        let hours = [(u32::MAX / 256, 1), (1, 0)].map(|(delivered, failed)| HourlyCount {
            delivered,
            failed,
            ..HourlyCount::of_hour(HourlyCount::hour_number(NOW))
        });
        let drawn = chart(&hours[..1], NOW).into_string();
        assert!(drawn.contains("height=\"95\""), "{drawn}");
    }
}
