//! What a style says that decides whether text is seen.

use super::super::tag::Tag;
use super::super::tokens::Attributes;
use super::color::{Color, ColorValue};
use super::length::Length;
use super::sheet::MAX_STEPS;
use super::syntax;

/// The font size, in pixels, by which two sizes are compared.
const FONT_SIZE: f32 = 16.0;

/// Properties whose value can hide text by what stands at its end.
const MAY_HIDE: [&str; 10] = [
    "clip",
    "clip-path",
    "color",
    "filter",
    "margin",
    "opacity",
    "scale",
    "text-indent",
    "transform",
    "translate",
];

/// A declaration costs as much as this number of comparisons.
const STEPS_OF_DECLARATION: u64 = 4;

/// The background of a text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in super::super) enum Background {
    Color(Color),
    /// A picture, a gradient, or a value that is not computed.
    Unknown,
}

macro_rules! declarations {
    ($($(#[$doc:meta])* $visibility:vis $field:ident: $type:ty,)*) => {
        /// The declared properties; a property that is not declared is `None`.
        #[derive(Clone, Debug, Default, PartialEq)]
        pub(in super::super) struct Declarations {
            $($(#[$doc])* $visibility $field: Option<$type>,)*
        }

        impl Declarations {
            /// The properties of both; of those that both declare, those of `other`.
            #[must_use]
            pub(in super::super) fn overridden_by(&self, other: &Self) -> Self {
                Self { $($field: other.$field.or(self.$field),)* }
            }

            /// The properties of both; of those that both declare, the ones with which less is seen.
            #[must_use]
            pub(in super::super) fn worse_of(&self, other: &Self) -> Self {
                Self {
                    $($field: match (self.$field, other.$field) {
                        (Some(one), Some(other)) => Some(one.worse(other)),
                        (one, other) => other.or(one),
                    },)*
                }
            }
        }
    };
}

declarations! {
    pub(in super::super) invisible: bool,
    pub(in super::super) opacity: f32,
    pub(in super::super) font_size: Length,
    pub(in super::super) color: ColorValue,
    /// `-webkit-text-fill-color`, which takes precedence over `color`.
    pub(in super::super) fill: ColorValue,
    pub(in super::super) background: Background,
    pub(in super::super) preformatted: bool,
    not_displayed: bool,
    hidden_in_outlook: bool,
    /// Content outside of the box is not drawn.
    clips: bool,
    height_is_zero: bool,
    max_height_is_zero: bool,
    width_is_zero: bool,
    max_width_is_zero: bool,
    /// `position` is one that `left` and its like move.
    is_positioned: bool,
    left_is_far: bool,
    top_is_far: bool,
    right_is_far: bool,
    bottom_is_far: bool,
    margin_is_far: bool,
    indent_is_far: bool,
    /// The text begins behind the right side of its box.
    indent_is_outside: bool,
    clip_is_empty: bool,
    clip_path_is_empty: bool,
    transform_hides: bool,
    scale_is_zero: bool,
    filter_hides: bool,
    /// A value was not read to its end, so that it may hide the element.
    is_cut: bool,
}

/// Of two values, the one with which less is seen.
trait Worse {
    fn worse(self, other: Self) -> Self;
}

impl Worse for bool {
    fn worse(self, other: Self) -> Self {
        self || other
    }
}

impl Worse for f32 {
    fn worse(self, other: Self) -> Self {
        self.min(other)
    }
}

impl Worse for Length {
    fn worse(self, other: Self) -> Self {
        let is_smaller = self.pixels(FONT_SIZE) < other.pixels(FONT_SIZE);
        if is_smaller { self } else { other }
    }
}

impl Worse for ColorValue {
    fn worse(self, other: Self) -> Self {
        other
    }
}

impl Worse for Background {
    fn worse(self, other: Self) -> Self {
        other
    }
}

/// The declarations of a style: those marked `!important` override all others.
#[derive(Clone, Debug, Default, PartialEq)]
pub(in super::super) struct Styles {
    pub(in super::super) normal: Declarations,
    pub(in super::super) important: Declarations,
}

impl Styles {
    /// Reads a `style` attribute, or a block of a style sheet without its braces. Adds the work to `steps`.
    pub(in super::super) fn parse(block: &str, steps: &mut u64) -> Self {
        let mut styles = Self::default();
        for declaration in syntax::declarations(&syntax::without_comments(block)) {
            *steps += STEPS_OF_DECLARATION;
            if *steps > MAX_STEPS {
                break;
            }
            let into = if declaration.is_important {
                &mut styles.important
            } else {
                &mut styles.normal
            };
            if declaration.is_cut && MAY_HIDE.contains(&&*declaration.property) {
                into.is_cut = Some(true);
            }
            into.set(&declaration.property, &declaration.value);
        }
        styles
    }
}

impl Declarations {
    /// What attributes such as `bgcolor` declare. Any style overrides them.
    pub(in super::super) fn of_attributes(tag: &Tag, attributes: &Attributes) -> Self {
        let color = |name: &str| attributes.get(name).and_then(Color::of_attribute);
        let mut declared = Self {
            background: color("bgcolor").map(Background::Color),
            ..Self::default()
        };
        let has_picture = attributes
            .get("background")
            .is_some_and(|picture| !picture.trim().is_empty());
        if has_picture && (tag.is_of_table() || *tag == Tag::Body) {
            declared.background = Some(Background::Unknown);
        }
        match tag {
            Tag::Font => {
                declared.color = color("color").map(ColorValue::Known);
                declared.font_size = attributes
                    .get("size")
                    .and_then(|_| Length::parse_font_size("small"));
            }
            Tag::Body => declared.color = color("text").map(ColorValue::Known),
            _ => {}
        }
        declared
    }

    /// Whether the element and everything in it is not drawn.
    pub(in super::super) fn removes_the_box(&self) -> bool {
        let is = |declared: Option<bool>| declared == Some(true);
        let has_no_size = [
            self.height_is_zero,
            self.max_height_is_zero,
            self.width_is_zero,
            self.max_width_is_zero,
        ];
        let is_moved_away = [
            self.left_is_far,
            self.top_is_far,
            self.right_is_far,
            self.bottom_is_far,
        ];
        let others = [
            self.not_displayed,
            self.hidden_in_outlook,
            self.margin_is_far,
            self.indent_is_far,
            self.clip_is_empty.filter(|_| is(self.is_positioned)),
            self.clip_path_is_empty,
            self.transform_hides,
            self.scale_is_zero,
            self.filter_hides,
        ];
        others.into_iter().any(is)
            || is(self.clips) && (has_no_size.into_iter().any(is) || is(self.indent_is_outside))
            || is(self.is_positioned) && is_moved_away.into_iter().any(is)
    }

    /// What hides the element if a value that was not read to its end does.
    pub(in super::super) fn at_worst(self) -> Option<Self> {
        let not_displayed = self.is_cut.filter(|is_cut| *is_cut);
        not_displayed.map(|_| Self {
            not_displayed,
            ..self
        })
    }

    /// Declares a property, in lower case. A value that a browser does not know changes nothing.
    fn set(&mut self, property: &str, value: &str) {
        match property {
            "display" => set(&mut self.not_displayed, is_not_displayed(value)),
            "visibility" => set(&mut self.invisible, is_invisible(value)),
            "opacity" => set(&mut self.opacity, share(value)),
            "mso-hide" => set(&mut self.hidden_in_outlook, Some(value == "all")),
            "font-size" => set(&mut self.font_size, Length::parse_font_size(value)),
            "font" => set(&mut self.font_size, font_size_of_shorthand(value)),
            "color" => set(&mut self.color, ColorValue::parse(value)),
            "-webkit-text-fill-color" => set(&mut self.fill, ColorValue::parse(value)),
            "background" => set(&mut self.background, background_of_shorthand(value)),
            "background-color" => set(&mut self.background, background_color(value)),
            "background-image" if value != "none" => self.background = Some(Background::Unknown),
            "white-space" => {
                let keeps_lines =
                    value.starts_with("pre") && value != "pre-line" || value == "break-spaces";
                self.preformatted = Some(keeps_lines);
            }
            _ => self.set_box(property, value),
        }
    }

    fn set_box(&mut self, property: &str, value: &str) {
        let is_zero = || size(value).map(|size| size.is_some_and(Length::is_zero));
        let is_far = || Length::parse(value).map(Length::is_far_away);
        match property {
            "overflow" | "overflow-x" | "overflow-y" => {
                self.clips = Some(value.contains("hidden") || value.contains("clip"));
            }
            "height" => set(&mut self.height_is_zero, is_zero()),
            "max-height" => set(&mut self.max_height_is_zero, is_zero()),
            "width" => set(&mut self.width_is_zero, is_zero()),
            "max-width" => set(&mut self.max_width_is_zero, is_zero()),
            "position" => {
                self.is_positioned = Some(matches!(
                    value,
                    "absolute" | "fixed" | "relative" | "sticky"
                ))
            }
            "left" => set(&mut self.left_is_far, is_far()),
            "top" => set(&mut self.top_is_far, is_far()),
            "right" => set(&mut self.right_is_far, is_far()),
            "bottom" => set(&mut self.bottom_is_far, is_far()),
            "margin-left" | "margin-top" => set(&mut self.margin_is_far, is_far()),
            "margin" => {
                let sides = value.split_ascii_whitespace().filter_map(Length::parse);
                self.margin_is_far = Some(sides.into_iter().any(Length::is_far_away));
            }
            "text-indent" => {
                let indent = value.split_ascii_whitespace().find_map(Length::parse);
                set(&mut self.indent_is_far, indent.map(Length::is_far_away));
                self.indent_is_outside =
                    Some(matches!(indent, Some(Length::Times(times)) if times >= 1.0));
            }
            "clip" => self.clip_is_empty = Some(is_empty_clip(value)),
            "clip-path" => self.clip_path_is_empty = Some(is_empty_clip_path(value)),
            "transform" => self.transform_hides = Some(transform_hides(value)),
            "scale" | "zoom" => {
                self.scale_is_zero = share(value)
                    .map(|scale| scale <= 0.01)
                    .or(self.scale_is_zero)
            }
            "filter" => {
                let opacity = value
                    .strip_prefix("opacity(")
                    .map(|rest| rest.trim_end_matches(')'));
                self.filter_hides = Some(
                    opacity
                        .and_then(share)
                        .is_some_and(|opacity| opacity < 0.05),
                );
            }
            "content-visibility" => self.filter_hides = Some(value == "hidden"),
            _ => {}
        }
    }
}

fn set<T>(property: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *property = value;
    }
}

/// Parses a number or a percentage.
fn share(value: &str) -> Option<f32> {
    match value.strip_suffix('%') {
        Some(percent) => percent
            .trim()
            .parse::<f32>()
            .ok()
            .map(|percent| percent / 100.0),
        None => value.parse().ok(),
    }
}

/// The size of a box; `Some(None)` if it depends on the content.
fn size(value: &str) -> Option<Option<Length>> {
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

fn is_not_displayed(value: &str) -> Option<bool> {
    if value == "none" {
        return Some(true);
    }
    let words = [
        "block",
        "inline",
        "flex",
        "grid",
        "table",
        "list-item",
        "contents",
        "flow",
        "box",
        "ruby",
        "run-in",
    ];
    let defaults = ["inherit", "initial", "unset", "revert", "revert-layer"];
    (defaults.contains(&value) || words.iter().any(|word| value.contains(word))).then_some(false)
}

fn is_invisible(value: &str) -> Option<bool> {
    match value {
        "hidden" | "collapse" => Some(true),
        "visible" | "initial" => Some(false),
        _ => None,
    }
}

/// The size in `font: bold 12px/1.5 Arial`.
fn font_size_of_shorthand(value: &str) -> Option<Length> {
    let is_weight = |word: &str| matches!(word.as_bytes(), [b'1'..=b'9', b'0', b'0'] | b"1000");
    let mut words = value
        .split_ascii_whitespace()
        .filter(|word| !is_weight(word));
    words.find_map(|word| Length::parse(word.split('/').next()?))
}

fn background_color(value: &str) -> Option<Background> {
    match ColorValue::parse(value)? {
        ColorValue::Known(_) if value == "initial" => {
            Color::parse("transparent").map(Background::Color)
        }
        ColorValue::Known(color) => Some(Background::Color(color)),
        ColorValue::Inherited => None,
        ColorValue::Unknown => Some(Background::Unknown),
    }
}

fn background_of_shorthand(value: &str) -> Option<Background> {
    if value.contains("url(")
        || value.contains("gradient")
        || value.contains("var(")
        || value.contains("image")
    {
        return Some(Background::Unknown);
    }
    background_color(value).or_else(|| syntax::pieces(value, b' ').find_map(background_color))
}

/// `rect(…)` without an area.
fn is_empty_clip(value: &str) -> bool {
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

fn is_empty_clip_path(value: &str) -> bool {
    let Some((shape, arguments)) = value.split_once('(') else {
        return false;
    };
    let mut lengths = arguments.split([',', ' ', ')']).filter_map(Length::parse);
    match shape.trim() {
        "inset" => matches!(lengths.next(), Some(Length::Times(share)) if share >= 0.5),
        "circle" | "ellipse" => lengths
            .next()
            .is_some_and(|radius| radius.pixels(0.0) <= 0.5),
        "polygon" => lengths.all(|side| side.pixels(1.0) <= 0.0),
        _ => false,
    }
}

fn transform_hides(value: &str) -> bool {
    value.split(')').any(|function| {
        let Some((name, arguments)) = function.trim().split_once('(') else {
            return false;
        };
        let mut arguments = arguments.split(',').map(str::trim);
        if name.starts_with("scale") {
            arguments.filter_map(share).any(|scale| scale.abs() <= 0.01)
        } else {
            name.starts_with("translate")
                && arguments.any(|far| Length::parse(far).is_some_and(Length::is_far_away))
        }
    })
}
