//! Whether a person sees the text of an element.

use super::css::{Color, ColorValue, Declarations, Drawing};

/// The background of a page, and the color of its text.
const PAPER: Color = Color::opaque(255, 255, 255);
const INK: Color = Color::opaque(0, 0, 0);

/// The color that browsers give to links, whatever the color around them.
pub(super) const LINK: Color = Color::opaque(0, 0, 238);

/// The font size of a page in pixels.
const FONT_SIZE: f32 = 16.0;

/// A text of at most this size in pixels is not seen.
const INVISIBLE_FONT_SIZE: f32 = 2.0;

/// Text that is less opaque than this is not visible.
const INVISIBLE_OPACITY: f32 = 0.05;

/// What an element says about how its text is drawn.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// The element and everything in it is not drawn.
    pub(super) is_removed: bool,
    /// The color of the text if it is a link.
    pub(super) link: Option<Color>,
    pub(super) is_preformatted: bool,
    /// None if nothing is declared, as for most elements.
    pub(super) style: Option<Box<Style>>,
}

/// The declarations for an element.
#[derive(Clone, Debug, Default)]
pub(super) struct Style {
    pub(super) declared: Declarations,
    /// Further declarations.
    pub(super) doubtful: Vec<Declarations>,
}

/// Whether a person sees text: as far as it is known, and at worst.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    known: Visibility,
    worst: Visibility,
}

/// Whether a person sees a text.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Seen {
    Yes,
    /// It depends on what is not known.
    Maybe,
    No,
}

impl Look {
    /// What is seen of an element within another.
    pub(super) fn within(&self, outer: Sight) -> Sight {
        let known = self.based_on(outer.known);
        let at_worst = self.based_on(outer.worst);
        let Some(style) = &self.style else {
            return Sight {
                known,
                worst: at_worst,
            };
        };
        let Style { declared, doubtful } = &**style;
        // The last is what all of them make of it.
        let mut worst = at_worst.with(doubtful.last().unwrap_or(declared));
        let mut others = doubtful.iter().map(|doubtful| at_worst.with(doubtful));
        if worst.shows_text()
            && let Some(hidden) = others.find(|other| !other.shows_text())
        {
            worst = hidden;
        }
        Sight {
            known: known.with(declared),
            worst,
        }
    }

    fn based_on(&self, mut outer: Visibility) -> Visibility {
        outer.is_removed |= self.is_removed;
        outer.is_preformatted |= self.is_preformatted;
        outer.color = self.link.or(outer.color);
        outer
    }
}

impl Sight {
    pub(super) fn of_text(&self) -> Seen {
        match (self.known.shows_text(), self.worst.shows_text()) {
            (true, true) => Seen::Yes,
            (false, false) => Seen::No,
            _ => Seen::Maybe,
        }
    }

    /// Whether the element's box takes its place, though its text may not be seen.
    pub(super) fn has_box(&self) -> bool {
        self.known.has_box() && self.worst.has_box()
    }

    pub(super) fn is_preformatted(&self) -> bool {
        self.known.is_preformatted
    }
}

/// How the text of an element is drawn: inherited, then changed by its own style.
#[derive(Clone, Copy, Debug)]
struct Visibility {
    /// The element and everything in it is not drawn.
    is_removed: bool,
    /// `visibility: hidden`, which an inner element can undo.
    is_invisible: bool,
    opacity: f32,
    font_size: f32,
    color: Option<Color>,
    /// The color behind the text; none if it is a picture or unknown.
    behind: Option<Color>,
    is_preformatted: bool,
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
    /// Applies an element's own style.
    fn with(mut self, style: &Declarations) -> Self {
        self.is_removed |= style.removes_the_box();
        match style.drawing {
            Some(Drawing::Hidden) => self.is_invisible = true,
            Some(Drawing::Visible) => self.is_invisible = false,
            Some(Drawing::Inherited) | None => {}
        }
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
            Some(ColorValue::Known(color)) => {
                self.behind = self.behind.map(|behind| color.over(behind));
                if color.is_opaque() {
                    self.behind = Some(color);
                }
            }
            Some(ColorValue::Unknown) => self.behind = None,
            Some(ColorValue::Inherited) | None => {}
        }
        if style.has_picture == Some(true) {
            self.behind = None;
        }
        self.is_preformatted = style.preformatted.unwrap_or(self.is_preformatted);
        self
    }

    /// Whether the element's box takes its place, though its text may not be seen.
    fn has_box(&self) -> bool {
        !self.is_removed && !self.is_invisible && self.opacity >= INVISIBLE_OPACITY
    }

    /// Whether text of the element is seen.
    fn shows_text(&self) -> bool {
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
