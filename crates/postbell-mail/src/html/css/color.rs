//! Colors.

use super::syntax::trim;

/// Two colors are alike if no channel differs by more than this and the contrast is low.
const SMALL_DIFFERENCE: f32 = 24.0;

/// A contrast (WCAG 2.2) at which a person reads nothing: light grey on white, #f4f4f4.
const INVISIBLE_CONTRAST: f32 = 1.1;

/// A color. Channels are from 0 to 255, `alpha` from 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) struct Color {
    channels: [f32; 3],
    alpha: f32,
}

/// The value of a property that is a color.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum ColorValue {
    Known(Color),
    /// That of the element around it.
    Inherited,
    /// A function or a variable whose result is not computed.
    Unknown,
}

impl Color {
    pub(in super::super) const fn opaque(red: u8, green: u8, blue: u8) -> Self {
        Self {
            channels: [red as f32, green as f32, blue as f32],
            alpha: 1.0,
        }
    }

    pub(in super::super) fn is_opaque(self) -> bool {
        self.alpha > 0.95
    }

    pub(in super::super) fn is_transparent(self) -> bool {
        self.alpha < 0.05
    }

    /// Whether text of this color is not seen on `behind`.
    pub(in super::super) fn is_like(self, behind: Self) -> bool {
        let seen = self.over(behind);
        let channels = seen.channels.iter().zip(behind.channels);
        let is_near = channels
            .into_iter()
            .all(|(one, other)| (one - other).abs() <= SMALL_DIFFERENCE);
        let (one, other) = (seen.luminance() + 0.05, behind.luminance() + 0.05);
        is_near && one.max(other) / one.min(other) < INVISIBLE_CONTRAST
    }

    fn luminance(self) -> f32 {
        let linear = |channel: f32| ((channel / 255.0 + 0.055) / 1.055).powf(2.4);
        let [red, green, blue] = self.channels.map(linear);
        0.2126 * red + 0.7152 * green + 0.0722 * blue
    }

    /// This color before another.
    pub(in super::super) fn over(self, behind: Self) -> Self {
        let mut seen = self;
        for (channel, behind) in seen.channels.iter_mut().zip(behind.channels) {
            *channel = *channel * self.alpha + behind * (1.0 - self.alpha);
        }
        seen.alpha = 1.0;
        seen
    }

    /// Parses a color in lower case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = trim(text);
        if PAPER_NAMES.contains(&text) {
            return Some(Self::opaque(255, 255, 255));
        }
        if INK_NAMES.contains(&text) {
            return Some(Self::opaque(0, 0, 0));
        }
        // The number sign is missing only where nothing but hexadecimal digits stands.
        let color = csscolorparser::parse(text).ok().filter(|_| !is_hex(text))?;
        let [red, green, blue, alpha] = color.to_array();
        Some(Self {
            channels: [red, green, blue].map(|channel| channel.clamp(0.0, 1.0) * 255.0),
            alpha,
        })
    }

    /// Parses a color without its number sign, which counts in a page without a document type.
    pub(super) fn parse_in_quirks(text: &str) -> Option<Self> {
        let is_quirk = is_hex(text) && matches!(text.len(), 3 | 6);
        is_quirk.then(|| Self::parse(&format!("#{text}")))?
    }

    /// Parses a color of an attribute such as `bgcolor` (HTML, section 2.3.6).
    pub(in super::super) fn of_attribute(text: &str) -> Option<Self> {
        let text = trim(text).to_ascii_lowercase();
        if text.is_empty() || text == "transparent" {
            return None;
        }
        let is_name = text.bytes().all(|byte| byte.is_ascii_alphabetic());
        let is_short = text.len() == 4 && text.starts_with('#') && is_hex(&text[1..]);
        if let Some(color) = Self::parse(&text).filter(|_| is_name || is_short) {
            return Some(color);
        }
        let digits = text.strip_prefix('#').unwrap_or(&text);
        // A character outside of the basic plane counts as two.
        let utf16 = digits.encode_utf16().take(128);
        let mut digits: Vec<u8> = utf16
            .map(|unit| u8::try_from(unit).unwrap_or(b'0'))
            .map(|one| if one.is_ascii_hexdigit() { one } else { b'0' })
            .collect();
        while digits.is_empty() || !digits.len().is_multiple_of(3) {
            digits.push(b'0');
        }
        let mut length = digits.len() / 3;
        let mut channels: Vec<&[u8]> = digits.chunks(length).collect();
        if length > 8 {
            channels = channels.iter().map(|one| &one[length - 8..]).collect();
            length = 8;
        }
        while length > 2 && channels.iter().all(|one| one[0] == b'0') {
            channels = channels.iter().map(|one| &one[1..]).collect();
            length -= 1;
        }
        let mut channels = channels.iter().map(|one| {
            let text = std::str::from_utf8(&one[..length.min(2)]).unwrap_or_default();
            u8::from_str_radix(text, 16).unwrap_or_default()
        });
        Some(Self::opaque(
            channels.next()?,
            channels.next()?,
            channels.next()?,
        ))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Names of colors of the system that are white in a light page (CSS Color 4, section 6.2).
const PAPER_NAMES: [&str; 4] = ["canvas", "field", "infobackground", "window"];

/// Names of those that are black.
const INK_NAMES: [&str; 6] = [
    "buttontext",
    "canvastext",
    "fieldtext",
    "infotext",
    "menutext",
    "windowtext",
];

impl ColorValue {
    /// Parses the value of a property in lower case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match trim(text) {
            "inherit" | "currentcolor" | "unset" | "revert" | "revert-layer" => {
                Some(Self::Inherited)
            }
            "initial" => Some(Self::Known(Color::opaque(0, 0, 0))),
            text => match Color::parse(text) {
                Some(color) => Some(Self::Known(color)),
                // A browser ignores a word that it does not know.
                None => text.contains('(').then_some(Self::Unknown),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_are_read_in_every_notation() {
        for white in [
            "white",
            "#fff",
            "#FFFFFF",
            "#ffff",
            "#ffffffff",
            "rgb(255,255,255)",
            "rgb(255 255 255 / 1)",
            "rgba(100%, 100%, 100%, 1)",
            "hsl(0, 0%, 100%)",
            "hsla(120deg 50% 100% / 100%)",
            "hsl(0.5turn 0% 100%)",
            "hwb(0 100% 0%)",
            "Canvas",
        ] {
            assert_eq!(
                Color::parse(&white.to_ascii_lowercase()),
                Some(Color::opaque(255, 255, 255)),
                "{white}"
            );
        }
        assert_eq!(
            Color::parse("hsl(0, 100%, 50%)"),
            Some(Color::opaque(255, 0, 0))
        );
        for (attribute, channels) in [
            (" FFFFFF ", [255, 255, 255]),
            ("fff", [15, 15, 15]),
            ("#fff", [255, 255, 255]),
            ("#ffffffffffff", [255, 255, 255]),
            ("#fefefe;", [254, 239, 0]),
            ("chucknorris", [192, 0, 0]),
            ("rgb(255,255,255)", [0, 80, 37]),
        ] {
            let [red, green, blue] = channels;
            let expected = Some(Color::opaque(red, green, blue));
            assert_eq!(Color::of_attribute(attribute), expected, "{attribute}");
        }
        assert_eq!(Color::of_attribute("transparent"), None);
        for transparent in ["transparent", "rgba(0,0,0,0)", "#0000", "rgb(0 0 0 / 0%)"] {
            assert!(
                Color::parse(transparent).is_some_and(Color::is_transparent),
                "{transparent}"
            );
        }
        for none in [
            "", "#", "#ff", "#ggg", "#äöü", "rgb(", "rgb(1,2)", "no-color", "ffffff",
        ] {
            assert_eq!(Color::parse(none), None, "{none}");
        }
    }

    #[test]
    fn text_is_not_seen_only_where_it_nearly_has_the_color_behind_it() {
        let like = |text: &str, behind: &str| {
            Color::parse(text)
                .unwrap()
                .is_like(Color::parse(behind).unwrap())
        };
        for (text, behind) in [
            ("#fefefe", "#fff"),
            ("#f6f6f6", "#fff"),
            ("#000", "#0a0a0a"),
            ("rgba(0,0,0,0.02)", "#fff"),
        ] {
            assert!(like(text, behind), "{text} on {behind}");
        }
        for (text, behind) in [
            ("#999", "#fff"),
            ("#ddd", "#fff"),
            ("#fff", "#00aa00"),
            ("red", "green"),
            ("#333", "#000"),
        ] {
            assert!(!like(text, behind), "{text} on {behind}");
        }
    }
}
