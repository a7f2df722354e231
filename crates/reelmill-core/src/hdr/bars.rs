//! Bars around the active picture, through crop and scale.

use crate::window::Window;
use serde::{Deserialize, Serialize};

/// Bars around the active picture (Dolby Vision level 5), pixels.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, schemars::JsonSchema,
)]
pub struct Bars {
    /// Left.
    pub left: u16,
    /// Right.
    pub right: u16,
    /// Top.
    pub top: u16,
    /// Bottom.
    pub bottom: u16,
}

impl Bars {
    /// The bars of the picture turned clockwise by so many degrees, of which only
    /// quarters count.
    #[must_use]
    pub fn turned(self, degrees: u16) -> Self {
        let Self { left, right, top, bottom } = self;
        match degrees % 360 {
            90 => Self { left: bottom, right: top, top: left, bottom: right },
            180 => Self { left: right, right: left, top: bottom, bottom: top },
            270 => Self { left: top, right: bottom, top: right, bottom: left },
            _ => self,
        }
    }
}

/// The bars that are left of `bars` when a picture of `source` pixels is cut to
/// `window` and then scaled to `size`.
#[must_use]
pub fn adapt(bars: Bars, source: (u32, u32), window: Option<Window>, size: (u32, u32)) -> Bars {
    let window = window.unwrap_or(Window { width: source.0, height: source.1, x: 0, y: 0 });
    let right = source.0.saturating_sub(window.x + window.width);
    let bottom = source.1.saturating_sub(window.y + window.height);
    let one = |bar: u16, cut: u32, from: u32, to: u32| {
        let left = u64::from(u32::from(bar).saturating_sub(cut).min(from));
        let (from, to) = (u64::from(from.max(1)), u64::from(to));
        ((left * to + from / 2) / from).min(u64::from(u16::MAX)) as u16
    };
    Bars {
        left: one(bars.left, window.x, window.width, size.0),
        right: one(bars.right, right, window.width, size.0),
        top: one(bars.top, window.y, window.height, size.1),
        bottom: one(bars.bottom, bottom, window.height, size.1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bars(top: u16, bottom: u16) -> Bars {
        Bars { left: 0, right: 0, top, bottom }
    }

    #[test]
    fn bars_follow_crop_and_scale() {
        let film = (3840, 2160);
        let cut = |height, y| Some(Window { width: 3840, height, x: 0, y });
        let size = |height| (3840, height);
        assert_eq!(adapt(bars(276, 276), film, None, film), bars(276, 276));
        assert_eq!(adapt(bars(276, 276), film, cut(1608, 276), size(1608)), Bars::default());
        assert_eq!(adapt(bars(276, 276), film, cut(1960, 100), size(1960)), bars(176, 176));
        assert_eq!(adapt(bars(0, 10), film, cut(1608, 276), size(1608)), Bars::default());
        assert_eq!(adapt(bars(276, 276), film, None, (1920, 1080)), bars(138, 138));
        assert_eq!(adapt(bars(276, 276), film, cut(1960, 100), (1920, 980)), bars(88, 88));
    }

    #[test]
    fn bars_turn_with_the_picture() {
        let coded = Bars { left: 1, right: 2, top: 3, bottom: 4 };
        // Clockwise: what was on the left comes to the top.
        assert_eq!(coded.turned(90), Bars { left: 4, right: 3, top: 1, bottom: 2 });
        let quarters = |times| (0..times).fold(coded, |bars, _| bars.turned(90));
        assert_eq!((coded.turned(180), coded.turned(270)), (quarters(2), quarters(3)));
        assert_eq!((coded.turned(0), coded.turned(360)), (coded, quarters(4)));
        // A phone's film, held upright, with bars above and below as coded.
        let film = Bars { left: 0, right: 0, top: 140, bottom: 140 }.turned(90);
        let upright = (1080, 1920);
        let half = Bars { left: 70, right: 70, top: 0, bottom: 0 };
        assert_eq!(adapt(film, upright, None, (540, 960)), half);
        let window = Some(Window { width: 800, height: 1920, x: 140, y: 0 });
        assert_eq!(adapt(film, upright, window, (800, 1920)), Bars::default());
    }

    proptest! {
        #[test]
        fn bars_never_grow_beyond_the_picture(
            top in 0u16..3000, bottom in 0u16..3000, y in 0u32..500, cut in 0u32..500, height in 16u32..3000,
        ) {
            let source = (1920, y + cut + 600);
            let window = Window { width: 1920, height: 600, x: 0, y };
            let left = adapt(bars(top, bottom), source, Some(window), (1920, height));
            prop_assert!(u32::from(left.top) <= height && u32::from(left.bottom) <= height);
            prop_assert!(left.left == 0 && left.right == 0);
        }
    }
}
