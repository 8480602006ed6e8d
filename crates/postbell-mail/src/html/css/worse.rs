//! Values of doubtful rules.

use super::color::ColorValue;
use super::length::{EM, Length};

/// Of two values, the one with which less is seen.
pub(super) trait Worse {
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
        let is_smaller = self.pixels(EM) < other.pixels(EM);
        if is_smaller { self } else { other }
    }
}

impl Worse for ColorValue {
    fn worse(self, other: Self) -> Self {
        other
    }
}
