//! Lengths.

/// The size of a font in pixels where only its name is known.
const NAMED_SIZE: f32 = 13.0;

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
        let text = text.trim();
        let is_number = |one: char| one.is_ascii_digit() || matches!(one, '.' | '-' | '+');
        let end = text.find(|one| !is_number(one)).unwrap_or(text.len());
        let number: f32 = text[..end].parse().ok()?;
        match text[end..].trim() {
            "px" => Some(Self::Pixels(number)),
            // Without a unit only zero is valid, and mail is often read by a program that takes pixels.
            "" => Some(Self::Pixels(number)),
            "pt" => Some(Self::Pixels(number * 4.0 / 3.0)),
            "pc" | "rem" | "lh" | "rlh" => Some(Self::Pixels(number * 16.0)),
            "in" => Some(Self::Pixels(number * 96.0)),
            "cm" => Some(Self::Pixels(number * 37.8)),
            "mm" | "q" => Some(Self::Pixels(number * 3.78)),
            "vw" | "vh" | "vmin" | "vmax" => Some(Self::Pixels(number * 8.0)),
            "em" => Some(Self::Times(number)),
            "ex" | "ch" => Some(Self::Times(number / 2.0)),
            "%" => Some(Self::Times(number / 100.0)),
            _ => None,
        }
    }

    /// Parses the size of a font.
    pub(super) fn parse_font_size(text: &str) -> Option<Self> {
        match text.trim() {
            "xx-small" | "x-small" | "small" | "medium" | "large" | "x-large" | "xx-large"
            | "xxx-large" | "initial" => Some(Self::Pixels(NAMED_SIZE)),
            "smaller" => Some(Self::Times(0.83)),
            "larger" => Some(Self::Times(1.2)),
            "inherit" | "unset" => Some(Self::Times(1.0)),
            // An attempt to compute nothing, such as `calc(1px - 1px)`.
            computed if computed.starts_with("calc(0") => Some(Self::Pixels(0.0)),
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
    pub(super) fn is_far_away(self) -> bool {
        match self {
            Self::Pixels(pixels) => pixels <= -900.0,
            Self::Times(times) => times <= -20.0,
        }
    }
}
