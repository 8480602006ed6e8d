//! Whether a person sees the text of an element.

use super::css::{Background, Color, ColorValue, Declarations};

/// The background of a page, and the color of its text.
const PAPER: Color = Color::opaque(255, 255, 255);
const INK: Color = Color::opaque(0, 0, 0);

/// The color that browsers give to links, whatever the color around them.
const LINK: Color = Color::opaque(0, 0, 238);

/// The font size of a page in pixels.
const FONT_SIZE: f32 = 16.0;

/// A text of at most this size in pixels is not seen.
const INVISIBLE_FONT_SIZE: f32 = 2.0;

/// Text that is less opaque than this is not visible.
const INVISIBLE_OPACITY: f32 = 0.05;

/// How the text of an element is drawn: inherited, then changed by its own style.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visibility {
    /// The element and everything in it is not drawn.
    is_removed: bool,
    /// `visibility: hidden`, which an inner element can undo.
    is_invisible: bool,
    opacity: f32,
    font_size: f32,
    color: Option<Color>,
    /// The color behind the text; none if it is a picture or unknown.
    behind: Option<Color>,
    pub(super) is_preformatted: bool,
}

impl Default for Visibility {
    fn default() -> Self {
        Self {
            is_removed: false,
            is_invisible: false,
            opacity: 1.0,
            font_size: FONT_SIZE,
            color: Some(INK),
            behind: Some(PAPER),
            is_preformatted: false,
        }
    }
}

impl Visibility {
    /// The element and everything in it is not drawn.
    pub(super) fn removed(self) -> Self {
        Self {
            is_removed: true,
            ..self
        }
    }

    pub(super) fn of_link(self) -> Self {
        Self {
            color: Some(LINK),
            ..self
        }
    }

    pub(super) fn preformatted(self) -> Self {
        Self {
            is_preformatted: true,
            ..self
        }
    }

    /// Applies an element's own style.
    pub(super) fn with(mut self, style: &Declarations) -> Self {
        self.is_removed |= style.removes_the_box();
        self.is_invisible = style.invisible.unwrap_or(self.is_invisible);
        self.opacity *= style.opacity.unwrap_or(1.0);
        if let Some(size) = style.font_size {
            self.font_size = size.pixels(self.font_size);
        }
        match style.fill.or(style.color) {
            Some(ColorValue::Known(color)) => self.color = Some(color),
            Some(ColorValue::Unknown) => self.color = None,
            Some(ColorValue::Inherited) | None => {}
        }
        match style.background {
            Some(Background::Color(color)) if color.is_opaque() => self.behind = Some(color),
            Some(Background::Color(color)) if color.is_transparent() => {}
            Some(Background::Color(_) | Background::Unknown) => self.behind = None,
            None => {}
        }
        self.is_preformatted = style.preformatted.unwrap_or(self.is_preformatted);
        self
    }

    /// Whether the element's box takes its place, though its text may not be seen.
    pub(super) fn has_box(&self) -> bool {
        !self.is_removed && !self.is_invisible && self.opacity >= INVISIBLE_OPACITY
    }

    /// Whether text of the element is seen.
    pub(super) fn shows_text(&self) -> bool {
        self.has_box() && self.font_size > INVISIBLE_FONT_SIZE && !self.is_in_the_background()
    }

    fn is_in_the_background(&self) -> bool {
        match (self.color, self.behind) {
            (Some(color), _) if color.is_transparent() => true,
            (Some(color), Some(behind)) => color.is_like(behind),
            _ => false,
        }
    }
}
