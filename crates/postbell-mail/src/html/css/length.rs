//! Lengths.

use super::syntax::trim;

/// The size of a font in pixels where only its name is known.
const NAMED_SIZE: f32 = 13.0;

/// A font size in pixels, for what is a share of one.
pub(super) const EM: f32 = 16.0;

/// The deepest nesting of a calculation.
const MAX_DEPTH: usize = 8;

/// A length, or a font's size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Length {
    Pixels(f32),
    /// A share of what is inherited, or of what is around.
    Times(f32),
}

impl Length {
    /// Parses a value in lower case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = trim(text);
        if text.ends_with(')') {
            return calculated(text, None).map(Self::Pixels);
        }
        let (number, unit) = number(text)?;
        match unit {
            "px" => Some(Self::Pixels(number)),
            // Without a unit only zero is valid, and mail is often read by a program that takes pixels.
            "" => Some(Self::Pixels(number)),
            "pt" => Some(Self::Pixels(number * 4.0 / 3.0)),
            "pc" | "rem" | "lh" | "rlh" => Some(Self::Pixels(number * 16.0)),
            "in" => Some(Self::Pixels(number * 96.0)),
            "cm" => Some(Self::Pixels(number * 37.8)),
            "mm" | "q" => Some(Self::Pixels(number * 3.78)),
            "vw" | "vh" | "vmin" | "vmax" => Some(Self::Pixels(number * 10.0)),
            "em" => Some(Self::Times(number)),
            "ex" | "ch" => Some(Self::Times(number / 2.0)),
            "%" => Some(Self::Times(number / 100.0)),
            _ => None,
        }
    }

    /// Parses the size of a font.
    pub(super) fn parse_font_size(text: &str) -> Option<Self> {
        match trim(text) {
            "xx-small" | "x-small" | "small" | "medium" | "large" | "x-large" | "xx-large"
            | "xxx-large" | "initial" => Some(Self::Pixels(NAMED_SIZE)),
            "smaller" => Some(Self::Times(0.83)),
            "larger" => Some(Self::Times(1.2)),
            "inherit" | "unset" => Some(Self::Times(1.0)),
            computed if computed.ends_with(')') => calculated(computed, Some(EM)).map(Self::Pixels),
            other => Self::parse(other),
        }
    }

    /// The length in pixels where `around` is what it is a share of.
    pub(in super::super) fn pixels(self, around: f32) -> f32 {
        match self {
            Self::Pixels(pixels) => pixels,
            Self::Times(times) => around * times,
        }
    }

    /// Whether a box of this size shows nothing.
    pub(super) fn is_zero(self) -> bool {
        match self {
            Self::Pixels(pixels) => pixels <= 1.0,
            Self::Times(times) => times <= 0.01,
        }
    }

    /// Whether something that is moved by this length is out of the page, to its left or above.
    pub(super) fn is_before_page(self) -> bool {
        match self {
            Self::Pixels(pixels) => pixels <= -900.0,
            Self::Times(times) => times <= -20.0,
        }
    }

    /// Whether something that is moved by this length is out of what a person sees, in any direction.
    pub(super) fn is_far_away(self) -> bool {
        let is_behind = match self {
            Self::Pixels(pixels) => pixels >= 5000.0,
            Self::Times(times) => times >= 300.0,
        };
        is_behind || self.is_before_page()
    }
}

/// Parses a number or a percentage.
pub(super) fn share(value: &str) -> Option<f32> {
    let value = trim(value);
    if value.ends_with(')') {
        return calculated(value, None);
    }
    match number(value)? {
        (number, "") => Some(number),
        (number, "%") => Some(number / 100.0),
        _ => None,
    }
}

/// The number at the start of a text, and its unit (CSS Syntax, section 4.3.12).
fn number(text: &str) -> Option<(f32, &str)> {
    let bytes = text.as_bytes();
    let digits = |mut at: usize| {
        while bytes.get(at).is_some_and(u8::is_ascii_digit) {
            at += 1;
        }
        at
    };
    let sign = |at: usize| at + usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
    let mut end = digits(sign(0));
    if bytes.get(end) == Some(&b'.') && digits(end + 1) > end + 1 {
        end = digits(end + 1);
    }
    if bytes.get(end) == Some(&b'e') && digits(sign(end + 1)) > sign(end + 1) {
        end = digits(sign(end + 1));
    }
    Some((text[..end].parse().ok()?, trim(&text[end..])))
}

/// The result of a function such as `calc(1px - 1px)` in pixels; none if it depends on what is not known.
fn calculated(text: &str, percent_of: Option<f32>) -> Option<f32> {
    let mut calculation = Calculation {
        rest: text,
        percent_of,
        depth: 0,
    };
    let result = calculation.value()?;
    calculation.rest.is_empty().then_some(result)
}

/// A calculation that is being read (CSS Values 4, section 10).
struct Calculation<'a> {
    rest: &'a str,
    percent_of: Option<f32>,
    depth: usize,
}

impl Calculation<'_> {
    fn takes(&mut self, start: &str) -> bool {
        let behind = self.rest.trim_start().strip_prefix(start);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    fn sum(&mut self) -> Option<f32> {
        let mut sum = self.product()?;
        loop {
            if self.takes("+") {
                sum += self.product()?;
            } else if self.takes("-") {
                sum -= self.product()?;
            } else {
                return Some(sum);
            }
        }
    }

    fn product(&mut self) -> Option<f32> {
        let mut product = self.value()?;
        loop {
            if self.takes("*") {
                product *= self.value()?;
            } else if self.takes("/") {
                product /= self.value()?;
            } else {
                return Some(product);
            }
        }
    }

    fn value(&mut self) -> Option<f32> {
        self.rest = self.rest.trim_start();
        let end = self.rest.find(['(', ')', ',', ' ', '*', '/', '\n', '\t']);
        let end = end.unwrap_or(self.rest.len());
        if self.rest[end..].starts_with('(') {
            return self.function(end);
        }
        let (text, rest) = self.rest.split_at(end);
        self.rest = rest;
        match Length::parse(text)? {
            Length::Pixels(pixels) => Some(pixels),
            Length::Times(times) if text.ends_with('%') => Some(times * self.percent_of?),
            Length::Times(times) => Some(times * EM),
        }
    }

    fn function(&mut self, end: usize) -> Option<f32> {
        let name = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return None;
        }
        let mut values = vec![self.sum()?];
        while self.takes(",") {
            values.push(self.sum()?);
        }
        self.depth -= 1;
        if !self.takes(")") {
            return None;
        }
        match (name, values.as_slice()) {
            ("calc" | "", [value]) => Some(*value),
            ("min", values) => values.iter().copied().reduce(f32::min),
            ("max", values) => values.iter().copied().reduce(f32::max),
            ("clamp", [least, value, most]) => Some(value.min(*most).max(*least)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_calculated_if_nothing_around_is_needed() {
        for (text, pixels) in [
            ("calc(1px - 1px)", Some(0.0)),
            ("calc( (2px + 1em)*2 )", Some(36.0)),
            ("min(0px, 5px)", Some(0.0)),
            ("clamp(16px, 2vw, 20px)", Some(20.0)),
            ("calc(100% - 20px)", None),
            ("var(--x)", None),
            ("calc(1px", None),
            ("1e-3px", Some(0.001)),
            ("1em", Some(16.0)),
            ("-.5px", Some(-0.5)),
        ] {
            let length = Length::parse(text).map(|length| length.pixels(16.0));
            assert_eq!(length, pixels, "{text}");
        }
    }
}
