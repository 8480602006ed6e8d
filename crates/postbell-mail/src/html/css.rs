//! As much of CSS as hides text: the declarations that matter, in `style` attributes and in style sheets.

mod attribute;
mod color;
mod cost;
mod declarations;
mod geometry;
mod length;
mod media;
mod selector;
mod sheet;
mod syntax;
mod worse;

pub(super) use self::color::{Color, ColorValue};
pub(super) use self::declarations::{Declarations, Drawing};
pub(super) use self::media::{Holds, media_applies};
pub(super) use self::sheet::StyleSheet;
