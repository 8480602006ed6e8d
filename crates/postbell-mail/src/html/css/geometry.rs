//! Values that move, clip or turn a box so that it is not seen.

use super::length::{Length, share};
use super::syntax::{is_default, trim, words};

/// Whether something that is moved by this length from a side of what is around it is not seen.
pub(super) fn is_out(value: &str) -> Option<bool> {
    let length = Length::parse(value)?;
    let is_share = trim(value).ends_with('%');
    let is_beside = matches!(length, Length::Times(times) if is_share && times.abs() >= 1.0);
    Some(is_beside || length.is_far_away())
}

/// The size of a box; `Some(None)` if it depends on the content.
pub(super) fn size(value: &str) -> Option<Option<Length>> {
    match Length::parse(value) {
        Some(length) => Some(Some(length)),
        None if value.contains('(')
            || matches!(value, "auto" | "none" | "initial" | "inherit" | "unset") =>
        {
            Some(None)
        }
        None => matches!(value, "fit-content" | "max-content" | "min-content").then_some(None),
    }
}

/// `rect(…)` without an area.
pub(super) fn is_empty_clip(value: &str) -> bool {
    let Some(sides) = value.strip_prefix("rect(") else {
        return false;
    };
    let sides = sides
        .trim_end_matches(')')
        .split([',', ' '])
        .filter(|side| !side.is_empty());
    let sides: Vec<_> = sides.map(Length::parse).collect();
    !sides.is_empty()
        && sides
            .iter()
            .all(|side| side.is_some_and(|side| side.pixels(0.0).abs() <= 1.0))
}

/// Whether a path clips all; none if it is not understood.
pub(super) fn is_empty_clip_path(value: &str) -> Option<bool> {
    if is_default(value) || value.ends_with("-box") {
        return Some(false);
    }
    let (shape, arguments) = value.split_once('(')?;
    let mut lengths = arguments.split([',', ' ', ')']).filter_map(Length::parse);
    let is_empty = match trim(shape) {
        "inset" => {
            let sides: Vec<_> = lengths.map(|side| side.pixels(1.0)).collect();
            let side = |at: usize, opposite: usize| sides.get(at).or(sides.get(opposite)).copied();
            let first = *sides.first()?;
            let right = side(1, 0)?;
            let is_share = arguments.contains('%');
            is_share
                && (first + side(2, 0)? >= 1.0
                    || right + sides.get(3).copied().unwrap_or(right) >= 1.0)
        }
        "circle" | "ellipse" => lengths.any(|radius| radius.pixels(1.0) <= 0.0),
        "polygon" => lengths.all(|side| side.pixels(1.0) <= 0.0),
        _ => return None,
    };
    Some(is_empty)
}

pub(super) fn transform_hides(value: &str) -> bool {
    value.split(')').any(|function| {
        let Some((name, arguments)) = function.split_once('(') else {
            return false;
        };
        let arguments = || arguments.split(',').map(trim);
        let numbers: Vec<_> = arguments().filter_map(share).collect();
        match trim(name) {
            "matrix" => {
                matches!(numbers.as_slice(), [a, b, c, d, ..] if (a * d - b * c).abs() <= 0.001)
            }
            "matrix3d" => true,
            "rotatex" | "rotatey" => arguments().any(is_edge_on),
            "rotate3d" => arguments().next_back().is_some_and(is_edge_on),
            name if name.starts_with("scale") => numbers.iter().any(|scale| scale.abs() <= 0.01),
            name if name.starts_with("translate") => {
                arguments().any(|far| Length::parse(far).is_some_and(Length::is_far_away))
            }
            _ => false,
        }
    })
}

/// Whether what is turned by an angle is seen from its edge.
fn is_edge_on(angle: &str) -> bool {
    let unit = angle.find(|one: char| one.is_ascii_alphabetic());
    let (number, unit) = angle.split_at(unit.unwrap_or(angle.len()));
    let degrees = match unit {
        "turn" => 360.0,
        "rad" => 180.0 / std::f32::consts::PI,
        "grad" => 0.9,
        _ => 1.0,
    };
    let number: Option<f32> = number.parse().ok();
    number.is_some_and(|number| ((number * degrees).rem_euclid(180.0) - 90.0).abs() < 3.0)
}

pub(super) fn rotation_hides(value: &str) -> bool {
    let mut words = words(value);
    matches!(words.next(), Some("x" | "y")) && words.next().is_some_and(is_edge_on)
}
