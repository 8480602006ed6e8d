//! Media queries, as a person sees a mail at a desk: a wide screen in light colors.

use super::length::Length;
use super::syntax::{trim, words};

/// The widths and heights of the window in which a mail is read, in pixels.
const SCREEN_WIDTH: [f32; 2] = [1000.0, 2600.0];
const SCREEN_HEIGHT: [f32; 2] = [700.0, 1600.0];

/// The pixels of a screen for a pixel of CSS.
const RESOLUTION: [f32; 2] = [1.0, 3.0];

/// Whether something holds.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in super::super) enum Holds {
    No,
    /// It depends on what is not known.
    Maybe,
    Yes,
}

impl Holds {
    fn not(self) -> Self {
        match self {
            Self::No => Self::Yes,
            Self::Maybe => Self::Maybe,
            Self::Yes => Self::No,
        }
    }

    fn is(holds: bool) -> Self {
        if holds { Self::Yes } else { Self::No }
    }

    /// Whether it holds in the whole range, or in a part.
    fn in_range(range: [f32; 2], condition: impl Fn(f32) -> bool) -> Self {
        match range.map(condition) {
            [true, true] => Self::Yes,
            [false, false] => Self::No,
            _ => Self::Maybe,
        }
    }
}

/// Whether the rules of a media query apply.
pub(in super::super) fn media_applies(query: &str) -> Holds {
    let query = trim(query).to_ascii_lowercase();
    if query.is_empty() {
        return Holds::Yes;
    }
    let queries = query.split(',').map(|one| one_applies(trim(one)));
    queries.max().unwrap_or(Holds::Yes)
}

fn one_applies(query: &str) -> Holds {
    let Some(first) = words(query).next() else {
        return Holds::No;
    };
    if first == "not" {
        return one_applies(trim(&query[3..])).not();
    }
    let query = query.strip_prefix("only").unwrap_or(query);
    let (medium, features) = query.split_at(query.find('(').unwrap_or(query.len()));
    let medium = words(medium).next().unwrap_or_default();
    if !matches!(medium, "" | "all" | "screen" | "and") {
        return Holds::No;
    }
    let is_deep = features.split(')').any(|one| one.matches('(').count() > 1);
    if is_deep || words(&features.replace(')', " ")).any(|word| word == "or") {
        return Holds::Maybe;
    }
    let features = features
        .split('(')
        .skip(1)
        .map(|rest| rest.split(')').next().unwrap_or_default());
    features.map(feature_applies).min().unwrap_or(Holds::Yes)
}

fn feature_applies(feature: &str) -> Holds {
    let Some((name, value)) = feature.split_once(':') else {
        return range_applies(trim(feature));
    };
    let (name, value) = (trim(name).replace("device-", ""), trim(value));
    let pixels = Length::parse(value).map(|length| length.pixels(16.0));
    let resolution = resolution(value);
    match (name.as_str(), pixels, resolution) {
        ("max-width", Some(most), _) => Holds::in_range(SCREEN_WIDTH, |width| width <= most),
        ("min-width", Some(least), _) => Holds::in_range(SCREEN_WIDTH, |width| width >= least),
        ("max-height", Some(most), _) => Holds::in_range(SCREEN_HEIGHT, |height| height <= most),
        ("min-height", Some(least), _) => Holds::in_range(SCREEN_HEIGHT, |height| height >= least),
        ("min-color", ..) => Holds::Yes,
        ("hover" | "any-hover", ..) => Holds::is(value == "hover"),
        ("pointer" | "any-pointer", ..) => Holds::is(value == "fine"),
        ("prefers-color-scheme", ..) => Holds::is(value == "light"),
        ("prefers-reduced-motion", ..) => Holds::is(value == "no-preference"),
        ("orientation", ..) => Holds::is(value == "landscape"),
        ("min-resolution" | "-webkit-min-pixel-ratio", _, Some(least)) => {
            Holds::in_range(RESOLUTION, |pixels| pixels >= least)
        }
        ("max-resolution" | "-webkit-max-pixel-ratio", _, Some(most)) => {
            Holds::in_range(RESOLUTION, |pixels| pixels <= most)
        }
        (name, ..) => unknown(name),
    }
}

/// What only old browsers of others knew does not hold.
fn unknown(name: &str) -> Holds {
    let is_of_others = ["-ms-", "-moz-", "min--moz-", "max--moz-", "-o-"];
    if is_of_others.iter().any(|prefix| name.starts_with(prefix)) {
        Holds::No
    } else {
        Holds::Maybe
    }
}

/// The pixels of the screen for one of CSS.
fn resolution(value: &str) -> Option<f32> {
    let unit = value.find(|one: char| one.is_ascii_alphabetic());
    let (number, unit) = value.split_at(unit.unwrap_or(value.len()));
    let number: f32 = trim(number).parse().ok()?;
    match unit {
        "" | "x" | "dppx" => Some(number),
        "dpi" => Some(number / 96.0),
        "dpcm" => Some(number / 37.8),
        _ => None,
    }
}

/// A range such as `width >= 600px`, or a feature without a value.
fn range_applies(feature: &str) -> Holds {
    if matches!(
        feature,
        "color" | "hover" | "any-hover" | "pointer" | "any-pointer"
    ) {
        return Holds::Yes;
    }
    let Some((name, value)) = feature.split_once(['<', '>']) else {
        return unknown(feature);
    };
    let is_least = feature.contains('>');
    let pixels = Length::parse(value.trim_start_matches('=')).map(|length| length.pixels(16.0));
    match (trim(name), pixels) {
        ("width", Some(pixels)) => {
            Holds::in_range(SCREEN_WIDTH, |width| is_least == (width >= pixels))
        }
        _ => Holds::Maybe,
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
            "screen and (max-width:4000px)",
            "(width >= 600px)",
            "(hover:hover)",
            "screen and (-webkit-min-device-pixel-ratio:0)",
            "(min-resolution: 96dpi)",
        ] {
            assert_eq!(media_applies(query), Holds::Yes, "{query}");
        }
        for query in [
            "print",
            "screen and (max-width:600px)",
            "(prefers-color-scheme: dark)",
            "not screen",
            "all and (-ms-high-contrast: none)",
            "(min--moz-device-pixel-ratio:0)",
            "(width < 600px)",
            "speech",
            "yahoo",
            ",",
        ] {
            assert_eq!(media_applies(query), Holds::No, "{query}");
        }
    }

    #[test]
    fn a_query_that_depends_on_the_window_or_on_an_unknown_feature_may_apply() {
        for query in [
            "(max-width: 1200px)",
            "(min-width: 1200px)",
            "only screen and (-webkit-min-device-pixel-ratio: 2)",
            "(update: fast)",
            "(width)",
            "(100px < width < 5000px)",
            "(width: 1px) or (height > 1px)",
            "((min-width: 1px))",
            "not (min-aspect-ratio: 1/100)",
            "(min-width: calc(1px + 1px))",
            "print, (grid: 0)",
        ] {
            assert_eq!(media_applies(query), Holds::Maybe, "{query}");
        }
    }
}
