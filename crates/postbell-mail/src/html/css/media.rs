//! Media queries, as a person sees a mail at a desk: a screen of 1,000 pixels in light colors.

use super::length::Length;

const SCREEN_WIDTH: f32 = 1000.0;
const SCREEN_HEIGHT: f32 = 800.0;

/// Whether the rules of a media query apply. A feature that is not known does not.
pub(in super::super) fn media_applies(query: &str) -> bool {
    let query = query.trim().to_ascii_lowercase();
    query.is_empty() || query.split(',').any(|one| one_applies(one.trim()))
}

fn one_applies(query: &str) -> bool {
    if let Some(negated) = query.strip_prefix("not") {
        return !one_applies(negated.trim());
    }
    let query = query.strip_prefix("only").unwrap_or(query).trim();
    let medium = query
        .split(|one: char| one.is_whitespace() || one == '(')
        .next()
        .unwrap_or_default();
    let is_screen = matches!(medium, "" | "all" | "screen" | "and");
    let mut features = query
        .split('(')
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap_or_default());
    is_screen && features.all(feature_applies)
}

fn feature_applies(feature: &str) -> bool {
    let (name, value) = feature
        .split_once(':')
        .map_or((feature.trim(), ""), |(name, value)| {
            (name.trim(), value.trim())
        });
    let name = name.replace("device-", "");
    let pixels = Length::parse(value).map(|length| length.pixels(16.0));
    match (name.as_str(), pixels) {
        ("max-width", Some(most)) => most >= SCREEN_WIDTH,
        ("min-width", Some(least)) => least <= SCREEN_WIDTH,
        ("max-height", Some(most)) => most >= SCREEN_HEIGHT,
        ("min-height", Some(least)) => least <= SCREEN_HEIGHT,
        ("color" | "min-color", _) => true,
        ("hover" | "any-hover", _) => matches!(value, "" | "hover"),
        ("pointer" | "any-pointer", _) => matches!(value, "" | "fine"),
        ("prefers-color-scheme", _) => value == "light",
        ("prefers-reduced-motion", _) => value == "no-preference",
        ("orientation", _) => value == "landscape",
        ("min-resolution", _) => value
            .trim_end_matches(char::is_alphabetic)
            .parse::<f32>()
            .is_ok_and(|least| least <= 1.0),
        _ => range_applies(feature),
    }
}

/// A range such as `width >= 600px`.
fn range_applies(feature: &str) -> bool {
    let Some((name, value)) = feature.split_once(['<', '>']) else {
        return false;
    };
    let is_least = feature.contains('>');
    let pixels = Length::parse(value.trim_start_matches('=')).map(|length| length.pixels(16.0));
    match (name.trim(), pixels) {
        ("width", Some(pixels)) => is_least == (SCREEN_WIDTH >= pixels),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_applies_on_a_wide_light_screen() {
        for query in [
            "",
            "screen",
            "all",
            "only screen and (min-width: 480px)",
            "print, screen",
            "not print",
            "(prefers-color-scheme: light)",
            "screen and (max-width:1200px)",
            "(width >= 600px)",
            "(hover:hover)",
        ] {
            assert!(media_applies(query), "{query}");
        }
        for query in [
            "print",
            "screen and (max-width:600px)",
            "(prefers-color-scheme: dark)",
            "not screen",
            "only screen and (-webkit-min-device-pixel-ratio: 2)",
            "all and (-ms-high-contrast: none)",
            "(width < 600px)",
            "speech",
        ] {
            assert!(!media_applies(query), "{query}");
        }
    }
}
