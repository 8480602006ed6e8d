//! What a style says that decides whether text is seen.

use super::super::tag::Tag;
use super::super::tokens::Attributes;
use super::color::{Color, ColorValue};
use super::cost::MAX_COMPARISONS;
use super::geometry::{
    is_empty_clip, is_empty_clip_path, is_out, rotation_hides, size, transform_hides,
};
use super::length::{EM, Length, share};
use super::syntax::{self, is_default, trim, words};
use super::worse::Worse;

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

/// Properties that hide text by one word or number, which a variable may be.
const CAN_HIDE_ALONE: [&str; 4] = ["display", "font-size", "opacity", "visibility"];

/// A declaration costs as much as this number of comparisons.
const STEPS_OF_DECLARATION: u64 = 4;

/// The value of `visibility`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum Drawing {
    Visible,
    Inherited,
    Hidden,
}

impl Worse for Drawing {
    fn worse(self, other: Self) -> Self {
        if self == Self::Hidden { self } else { other }
    }
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
    pub(in super::super) drawing: Drawing,
    pub(in super::super) opacity: f32,
    pub(in super::super) font_size: Length,
    pub(in super::super) color: ColorValue,
    /// `-webkit-text-fill-color`, which takes precedence over `color`.
    pub(in super::super) fill: ColorValue,
    /// The color behind the text.
    pub(in super::super) background: ColorValue,
    /// A picture or a gradient is behind the text.
    pub(in super::super) has_picture: bool,
    pub(in super::super) preformatted: bool,
    /// What follows the element is moved out of the page.
    pub(in super::super) pulls_up: bool,
    not_displayed: bool,
    hidden_in_outlook: bool,
    /// Content outside of the box is not drawn.
    clips: bool,
    height_is_zero: bool,
    max_height_is_zero: bool,
    width_is_zero: bool,
    max_width_is_zero: bool,
    line_is_zero: bool,
    /// `position` is one that `left` and its like move.
    is_positioned: bool,
    left_is_far: bool,
    top_is_far: bool,
    right_is_far: bool,
    bottom_is_far: bool,
    margin_is_far: bool,
    padding_is_far: bool,
    indent_is_far: bool,
    /// The text begins behind the right side of its box.
    indent_is_outside: bool,
    clip_is_empty: bool,
    clip_path_is_empty: bool,
    transform_hides: bool,
    rotation_hides: bool,
    translation_is_far: bool,
    scale_is_zero: bool,
    filter_hides: bool,
    content_is_hidden: bool,
    /// A picture is drawn in place of the content.
    is_replaced: bool,
    /// Letters are drawn over one another, as dots, or without height.
    letters_are_unreadable: bool,
    /// The color in a page without a document type, or if a variable has no value.
    other_color: ColorValue,
    /// A value was not read to its end or is not understood, so that it may hide the element.
    is_cut: bool,
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
        let block = syntax::without_comments(block, " ", Some(" ")).unwrap_or_default();
        for declaration in syntax::declarations(&block) {
            *steps += STEPS_OF_DECLARATION;
            if *steps > MAX_COMPARISONS {
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
            not_displayed: attributes.has("hidden").then_some(true),
            ..Self::default()
        };
        if tag.has_background() {
            declared.background = color("bgcolor").map(ColorValue::Known);
            let picture = attributes.get("background").unwrap_or_default();
            declared.has_picture = Some(!trim(picture).is_empty()).filter(|has| *has);
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
            self.padding_is_far,
            self.indent_is_far,
            self.clip_is_empty.filter(|_| is(self.is_positioned)),
            self.clip_path_is_empty,
            self.transform_hides,
            self.rotation_hides,
            self.translation_is_far,
            self.scale_is_zero,
            self.filter_hides,
            self.content_is_hidden,
            self.is_replaced,
            self.letters_are_unreadable,
        ];
        others.into_iter().any(is)
            || is(self.clips) && (has_no_size.into_iter().any(is) || is(self.indent_is_outside))
            || is(self.is_positioned) && is_moved_away.into_iter().any(is)
    }

    /// What hides the element if a value that was not understood does, or if the page has no document type.
    pub(in super::super) fn at_worst(&self) -> Option<Self> {
        let is = |declared: Option<bool>| declared == Some(true);
        // Only lines of the element itself have no height.
        let has_no_lines = is(self.clips) && is(self.line_is_zero);
        let not_displayed = (is(self.is_cut) || has_no_lines).then_some(true);
        if not_displayed.is_none() && self.other_color.is_none() {
            return None;
        }
        Some(Self {
            not_displayed: not_displayed.or(self.not_displayed),
            color: self.other_color.or(self.color),
            ..self.clone()
        })
    }

    /// Declares a property, in lower case. A value that a browser does not know changes nothing.
    fn set(&mut self, property: &str, value: &str) {
        match property {
            "display" => set(&mut self.not_displayed, is_not_displayed(value)),
            "visibility" => set(&mut self.drawing, drawing(value)),
            "opacity" | "-webkit-opacity" => set(&mut self.opacity, share(value)),
            "mso-hide" => set(&mut self.hidden_in_outlook, Some(value == "all")),
            "font-size" => set(&mut self.font_size, Length::parse_font_size(value)),
            "font" => set(&mut self.font_size, font_size_of_shorthand(value)),
            "color" => {
                set(&mut self.color, ColorValue::parse(value));
                let quirk = Color::parse_in_quirks(value).map(ColorValue::Known);
                set(
                    &mut self.other_color,
                    quirk.or_else(|| without_variable(value)),
                );
            }
            "-webkit-text-fill-color" => set(&mut self.fill, ColorValue::parse(value)),
            "background" => self.set_background(value),
            "background-color" => set(&mut self.background, background_color(value)),
            "background-image" => self.has_picture = Some(is_picture(value)),
            "white-space" => {
                let keeps_lines =
                    value.starts_with("pre") && value != "pre-line" || value == "break-spaces";
                self.preformatted = Some(keeps_lines);
            }
            "content-visibility" => self.content_is_hidden = Some(value == "hidden"),
            "content" => self.is_replaced = Some(is_picture(value)),
            "-webkit-text-security" => self.letters_are_unreadable = Some(value != "none"),
            "font-size-adjust" => {
                self.letters_are_unreadable = share(value).map(|share| share < 0.1);
            }
            "letter-spacing" => {
                let spacing = Length::parse(value).map(|spacing| spacing.pixels(EM));
                self.letters_are_unreadable = spacing.map(|pixels| pixels <= -6.0);
            }
            _ => {
                self.set_size(property, value);
                self.set_position(property, value);
                self.set_shape(property, value);
            }
        }
        let depends = value.contains("var(") && CAN_HIDE_ALONE.contains(&property);
        let is_color = matches!(property, "color" | "-webkit-text-fill-color");
        let is_computed = is_color && ColorValue::parse(value) == Some(ColorValue::Unknown);
        let is_cut = depends
            || is_computed && !value.contains("var(")
            || is_mask(property) && !is_default(value);
        if is_cut {
            self.is_cut = Some(true);
        }
    }

    fn set_background(&mut self, value: &str) {
        let has_picture = is_picture(value) || value.contains("var(");
        let color = background_color(value)
            .or_else(|| syntax::pieces(value, b' ').find_map(background_color));
        let is_understood = color.is_some() || has_picture || is_default(value);
        if is_understood {
            self.has_picture = Some(has_picture);
            self.background = color.or_else(|| Color::parse("transparent").map(ColorValue::Known));
        }
    }

    /// Declares how large a box is.
    fn set_size(&mut self, property: &str, value: &str) {
        let is_zero = || size(value).map(|size| size.is_some_and(Length::is_zero));
        match property {
            "overflow" | "overflow-x" | "overflow-y" | "overflow-block" | "overflow-inline" => {
                let clipping = ["hidden", "clip", "auto", "scroll", "overlay"];
                let clips = clipping.iter().any(|word| value.contains(word));
                self.clips = Some(clips);
            }
            "contain" => {
                let is = |wanted| words(value).any(|word| word == wanted);
                if is("strict") || is("content") || is("paint") {
                    self.clips = Some(true);
                }
                if is("strict") || is("size") {
                    self.height_is_zero = self.height_is_zero.or(Some(true));
                }
            }
            "height" | "block-size" => set(&mut self.height_is_zero, is_zero()),
            "max-height" | "max-block-size" => set(&mut self.max_height_is_zero, is_zero()),
            "width" | "inline-size" => set(&mut self.width_is_zero, is_zero()),
            "line-height" => {
                let is_zero = Length::parse(value).map(|length| length.pixels(EM) <= 1.0);
                set(
                    &mut self.line_is_zero,
                    is_zero.filter(|_| share(value) != Some(1.0)),
                );
            }
            "max-width" | "max-inline-size" => set(&mut self.max_width_is_zero, is_zero()),
            _ => {}
        }
    }

    /// Declares where a box is.
    fn set_position(&mut self, property: &str, value: &str) {
        let is_far = || Length::parse(value).map(Length::is_far_away);
        match property {
            "position" => {
                self.is_positioned = Some(matches!(
                    value,
                    "absolute" | "fixed" | "relative" | "sticky"
                ))
            }
            "left" | "inset-inline-start" => set(&mut self.left_is_far, is_out(value)),
            "top" | "inset-block-start" => set(&mut self.top_is_far, is_out(value)),
            "right" | "inset-inline-end" => set(&mut self.right_is_far, is_out(value)),
            "bottom" | "inset-block-end" => set(&mut self.bottom_is_far, is_out(value)),
            "inset" | "inset-inline" | "inset-block" => {
                let is_far = words(value).filter_map(is_out).any(|is_far| is_far);
                self.left_is_far = Some(is_far);
            }
            "margin-left" | "margin-inline-start" => set(&mut self.margin_is_far, is_far()),
            "margin-top" | "margin-bottom" | "margin-block-start" | "margin-block-end" => {
                let pulls_up = Length::parse(value).map(Length::is_before_page);
                set(&mut self.pulls_up, pulls_up);
                if property.ends_with("top") || property.ends_with("start") {
                    set(&mut self.margin_is_far, pulls_up);
                }
            }
            "margin" => {
                let sides: Vec<_> = words(value).filter_map(Length::parse).collect();
                self.margin_is_far = Some(sides.iter().any(|side| side.is_far_away()));
                let pulls_up = sides.iter().step_by(2).any(|side| side.is_before_page());
                self.pulls_up = Some(pulls_up);
            }
            "padding-left" | "padding-inline-start" => set(&mut self.padding_is_far, is_far()),
            "text-indent" => {
                let indent = words(value).find_map(Length::parse);
                set(&mut self.indent_is_far, indent.map(Length::is_far_away));
                self.indent_is_outside =
                    Some(matches!(indent, Some(Length::Times(times)) if times >= 1.0));
            }
            _ => {}
        }
    }

    /// Declares how a box is clipped, turned and drawn.
    fn set_shape(&mut self, property: &str, value: &str) {
        match property {
            "clip" => self.clip_is_empty = Some(is_empty_clip(value)),
            "clip-path" | "-webkit-clip-path" => {
                let is_empty = is_empty_clip_path(value);
                self.clip_path_is_empty = Some(is_empty == Some(true));
                self.is_cut = is_empty.is_none().then_some(true).or(self.is_cut);
            }
            "transform" | "-webkit-transform" => {
                self.transform_hides = Some(transform_hides(value));
            }
            "rotate" => self.rotation_hides = Some(rotation_hides(value)),
            "translate" => {
                let mut lengths = words(value).filter_map(Length::parse);
                self.translation_is_far = Some(lengths.any(Length::is_far_away));
            }
            "scale" | "zoom" => {
                let mut scales = words(value).filter_map(share).peekable();
                if scales.peek().is_some() {
                    self.scale_is_zero = Some(scales.any(|scale| scale.abs() <= 0.01));
                }
            }
            "filter" | "-webkit-filter" => {
                let opacities = value.split("opacity(").skip(1);
                let mut opacities = opacities.filter_map(|rest| share(rest.split(')').next()?));
                self.filter_hides = Some(opacities.any(|opacity| opacity < 0.05));
            }
            _ => {}
        }
    }
}

fn set<T>(property: &mut Option<T>, value: Option<T>) {
    if value.is_some() {
        *property = value;
    }
}

fn is_picture(value: &str) -> bool {
    ["url(", "gradient", "image"]
        .iter()
        .any(|word| value.contains(word))
}

fn is_mask(property: &str) -> bool {
    let property = property.strip_prefix("-webkit-").unwrap_or(property);
    matches!(property, "mask" | "mask-image" | "mask-box-image")
}

/// The color where the variable in the value has none: the one that is named for this, else the inherited one.
fn without_variable(value: &str) -> Option<ColorValue> {
    let variable = value.strip_prefix("var(")?.strip_suffix(')')?;
    let named = variable.split_once(',').map(|(_, color)| trim(color));
    Some(
        named
            .and_then(ColorValue::parse)
            .unwrap_or(ColorValue::Inherited),
    )
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

fn drawing(value: &str) -> Option<Drawing> {
    match value {
        "hidden" | "collapse" => Some(Drawing::Hidden),
        "visible" | "initial" => Some(Drawing::Visible),
        "inherit" | "unset" | "revert" | "revert-layer" => Some(Drawing::Inherited),
        _ => None,
    }
}

/// The size in `font: bold 12px/1.5 Arial`.
fn font_size_of_shorthand(value: &str) -> Option<Length> {
    let is_weight = |word: &str| matches!(word.as_bytes(), [b'1'..=b'9', b'0', b'0'] | b"1000");
    let mut words = words(value).filter(|word| !is_weight(word));
    words.find_map(|word| Length::parse(word.split('/').next()?))
}

fn background_color(value: &str) -> Option<ColorValue> {
    if value == "initial" {
        return Color::parse("transparent").map(ColorValue::Known);
    }
    ColorValue::parse(value).filter(|_| !is_picture(value))
}
