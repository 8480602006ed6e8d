//! Colors.

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
        let mut seen = self;
        for (channel, behind) in seen.channels.iter_mut().zip(behind.channels) {
            *channel = *channel * self.alpha + behind * (1.0 - self.alpha);
        }
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

    /// Parses a color in lower case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(digits) = text.strip_prefix('#') {
            return Self::of_hex(digits);
        }
        if let Some((function, arguments)) = text.split_once('(') {
            let arguments = arguments.strip_suffix(')').unwrap_or(arguments);
            return match function {
                "rgb" | "rgba" => Self::of_rgb(arguments),
                "hsl" | "hsla" => Self::of_hsl(arguments),
                _ => None,
            };
        }
        Self::named(text)
    }

    /// Parses a color of an attribute such as `bgcolor`, where the number sign may be missing.
    pub(super) fn of_attribute(text: &str) -> Option<Self> {
        let text = text.trim().to_ascii_lowercase();
        Self::parse(&text).or_else(|| Self::of_hex(&text).filter(|_| text.len() == 6))
    }

    fn of_hex(digits: &str) -> Option<Self> {
        let digits: Option<Vec<u32>> = digits.chars().map(|one| one.to_digit(16)).collect();
        let channels: Vec<u8> = match digits?.as_slice() {
            short @ ([_, _, _] | [_, _, _, _]) => short
                .iter()
                .filter_map(|one| u8::try_from(one * 17).ok())
                .collect(),
            long if matches!(long.len(), 6 | 8) => long
                .chunks(2)
                .filter_map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok())
                .collect(),
            _ => return None,
        };
        let mut color = Self::opaque(channels[0], channels[1], channels[2]);
        color.alpha = channels
            .get(3)
            .map_or(1.0, |alpha| f32::from(*alpha) / 255.0);
        Some(color)
    }

    fn of_rgb(arguments: &str) -> Option<Self> {
        let arguments = arguments_of(arguments);
        let [red, green, blue, ..] = arguments.as_slice() else {
            return None;
        };
        let channel = |text: &str| match text.strip_suffix('%') {
            Some(share) => share.parse::<f32>().map(|share| share * 2.55).ok(),
            None => text.parse::<f32>().ok(),
        };
        let channels = [channel(red)?, channel(green)?, channel(blue)?]
            .map(|channel| channel.clamp(0.0, 255.0));
        Some(Self {
            channels,
            alpha: alpha_of(arguments.get(3).copied())?,
        })
    }

    fn of_hsl(arguments: &str) -> Option<Self> {
        let arguments = arguments_of(arguments);
        let [hue, saturation, lightness, ..] = arguments.as_slice() else {
            return None;
        };
        let share = |text: &str| {
            text.trim_end_matches('%')
                .parse::<f32>()
                .ok()
                .map(|share| (share / 100.0).clamp(0.0, 1.0))
        };
        let hue = hue.trim_end_matches("deg").parse::<f32>().ok()?;
        let (saturation, lightness) = (share(saturation)?, share(lightness)?);
        // CSS Color 4, section 7.1.
        let spread = saturation * lightness.min(1.0 - lightness);
        let channel = |offset: f32| {
            let position = (offset + hue / 30.0).rem_euclid(12.0);
            (lightness - spread * (position - 3.0).min(9.0 - position).clamp(-1.0, 1.0)) * 255.0
        };
        Some(Self {
            channels: [channel(0.0), channel(8.0), channel(4.0)],
            alpha: alpha_of(arguments.get(3).copied())?,
        })
    }

    fn named(name: &str) -> Option<Self> {
        if name == "transparent" {
            return Some(Self {
                channels: [0.0; 3],
                alpha: 0.0,
            });
        }
        let (_, code) = NAMES.iter().find(|(known, _)| *known == name)?;
        let [_, red, green, blue] = code.to_be_bytes();
        Some(Self::opaque(red, green, blue))
    }
}

impl ColorValue {
    /// Parses the value of a property in lower case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.trim() {
            "inherit" | "currentcolor" | "unset" | "revert" => Some(Self::Inherited),
            "initial" => Some(Self::Known(Color::opaque(0, 0, 0))),
            text => match Color::parse(text) {
                Some(color) => Some(Self::Known(color)),
                // A browser ignores a word that it does not know.
                None => text.contains('(').then_some(Self::Unknown),
            },
        }
    }
}

fn arguments_of(text: &str) -> Vec<&str> {
    text.split([',', ' ', '/'])
        .filter(|argument| !argument.is_empty())
        .collect()
}

fn alpha_of(text: Option<&str>) -> Option<f32> {
    match text {
        None => Some(1.0),
        Some(text) => match text.strip_suffix('%') {
            Some(share) => share.parse::<f32>().map(|share| share / 100.0).ok(),
            None => text.parse().ok(),
        },
    }
}

/// Names of colors (CSS Color 4, section 6.1), as far as text or paper has them.
const NAMES: [(&str, u32); 66] = [
    ("aliceblue", 0xf0_f8ff),
    ("antiquewhite", 0xfa_ebd7),
    ("aqua", 0x00_ffff),
    ("azure", 0xf0_ffff),
    ("beige", 0xf5_f5dc),
    ("bisque", 0xff_e4c4),
    ("black", 0),
    ("blanchedalmond", 0xff_ebcd),
    ("blue", 0x00_00ff),
    ("brown", 0xa5_2a2a),
    ("cornsilk", 0xff_f8dc),
    ("crimson", 0xdc_143c),
    ("cyan", 0x00_ffff),
    ("darkblue", 0x00_008b),
    ("darkgray", 0xa9_a9a9),
    ("darkgreen", 0x00_6400),
    ("darkgrey", 0xa9_a9a9),
    ("darkred", 0x8b_0000),
    ("dimgray", 0x69_6969),
    ("dimgrey", 0x69_6969),
    ("floralwhite", 0xff_faf0),
    ("fuchsia", 0xff_00ff),
    ("gainsboro", 0xdc_dcdc),
    ("ghostwhite", 0xf8_f8ff),
    ("gold", 0xff_d700),
    ("gray", 0x80_8080),
    ("green", 0x00_8000),
    ("grey", 0x80_8080),
    ("honeydew", 0xf0_fff0),
    ("indigo", 0x4b_0082),
    ("ivory", 0xff_fff0),
    ("lavender", 0xe6_e6fa),
    ("lavenderblush", 0xff_f0f5),
    ("lemonchiffon", 0xff_facd),
    ("lightblue", 0xad_d8e6),
    ("lightcyan", 0xe0_ffff),
    ("lightgoldenrodyellow", 0xfa_fad2),
    ("lightgray", 0xd3_d3d3),
    ("lightgreen", 0x90_ee90),
    ("lightgrey", 0xd3_d3d3),
    ("lightyellow", 0xff_ffe0),
    ("lime", 0x00_ff00),
    ("linen", 0xfa_f0e6),
    ("magenta", 0xff_00ff),
    ("maroon", 0x80_0000),
    ("midnightblue", 0x19_1970),
    ("mintcream", 0xf5_fffa),
    ("mistyrose", 0xff_e4e1),
    ("navy", 0x00_0080),
    ("oldlace", 0xfd_f5e6),
    ("olive", 0x80_8000),
    ("orange", 0xff_a500),
    ("papayawhip", 0xff_efd5),
    ("pink", 0xff_c0cb),
    ("purple", 0x80_0080),
    ("red", 0xff_0000),
    ("seashell", 0xff_f5ee),
    ("silver", 0xc0_c0c0),
    ("snow", 0xff_fafa),
    ("tan", 0xd2_b48c),
    ("teal", 0x00_8080),
    ("tomato", 0xff_6347),
    ("white", 0xff_ffff),
    ("whitesmoke", 0xf5_f5f5),
    ("yellow", 0xff_ff00),
    ("yellowgreen", 0x9a_cd32),
];

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
        assert_eq!(
            Color::of_attribute(" FFFFFF "),
            Some(Color::opaque(255, 255, 255))
        );
        for transparent in ["transparent", "rgba(0,0,0,0)", "#0000", "rgb(0 0 0 / 0%)"] {
            assert!(
                Color::parse(transparent).is_some_and(Color::is_transparent),
                "{transparent}"
            );
        }
        for none in [
            "", "#", "#ff", "#ggg", "#äöü", "rgb(", "rgb(1,2)", "no-color",
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
