//! As much of CSS as hides text: the declarations that matter, in `style` attributes and in style sheets.

mod color;
mod declarations;
mod length;
mod media;
mod selector;
mod sheet;
mod syntax;

pub(super) use self::color::{Color, ColorValue};
pub(super) use self::declarations::{Background, Declarations};
pub(super) use self::media::media_applies;
pub(super) use self::sheet::StyleSheet;
