//! A window: the part of a picture that is kept when it is cropped.

use serde::{Deserialize, Serialize};

/// A part of a picture, pixels. Written `WIDTH:HEIGHT:X:Y`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Window {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Columns left of it.
    pub x: u32,
    /// Rows above it.
    pub y: u32,
}

impl Window {
    /// Whether it lies within a picture of `size`.
    #[must_use]
    pub fn fits(self, size: (u32, u32)) -> bool {
        let within = |start: u32, length: u32, size: u32| {
            u64::from(start) + u64::from(length) <= u64::from(size)
        };
        within(self.x, self.width, size.0) && within(self.y, self.height, size.1)
    }
}

impl std::fmt::Display for Window {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}:{}:{}", self.width, self.height, self.x, self.y)
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.to_string()
    }
}

impl TryFrom<String> for Window {
    type Error = String;

    /// Odd numbers are refused: most pixels share their colour with a
    /// neighbour.
    fn try_from(text: String) -> Result<Self, String> {
        let numbers: Vec<u32> = text.split(':').filter_map(|part| part.parse().ok()).collect();
        let [width, height, x, y] = numbers[..] else {
            return Err(format!("crop '{text}' is not WIDTH:HEIGHT:X:Y, such as 1920:800:0:140"));
        };
        if text.split(':').count() != 4 || numbers.iter().any(|number| number % 2 != 0) {
            return Err(format!("crop '{text}' must be four even numbers"));
        }
        if width < 16 || height < 16 {
            return Err(format!("crop '{text}' leaves less than 16 pixels"));
        }
        Ok(Self { width, height, x, y })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_read_and_written_and_odd_ones_refused() {
        let window = Window::try_from("1920:800:0:140".to_owned()).unwrap();
        assert_eq!(window.to_string(), "1920:800:0:140");
        assert!(window.fits((1920, 1080)) && !window.fits((1920, 900)));
        for bad in
            ["", "1920:800", "1920:801:0:140", "8:8:0:0", "a:b:c:d", "16:16:0:0:2", "16:16:0:-2"]
        {
            assert!(Window::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
