//! Colours, as far as they tell whether a text can be seen on its background.

/// Channels that differ by less look the same.
const MAX_DIFFERENCE: u8 = 8;

/// A colour, or what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Color {
    /// Red, green and blue.
    Rgb([u8; 3]),
    Transparent,
    /// One that is not understood, a picture, or one that shines through.
    Unknown,
}

impl Color {
    pub(super) const BLACK: Self = Self::Rgb([0; 3]);
    pub(super) const WHITE: Self = Self::Rgb([255; 3]);

    /// Parses a value of CSS or of an attribute such as `bgcolor`.
    pub(super) fn parse(value: &str) -> Self {
        let value = value.trim();
        if let Some(digits) = value.strip_prefix('#') {
            return from_digits(digits).unwrap_or(Self::Unknown);
        }
        if let Some((function, arguments)) = value.split_once('(') {
            return from_function(function.trim(), arguments.trim_end_matches([')', ' ']));
        }
        let is_named = |(name, _): &&(&str, [u8; 3])| value.eq_ignore_ascii_case(name);
        match NAMED.iter().find(is_named) {
            Some((_, channels)) => Self::Rgb(*channels),
            None if value.eq_ignore_ascii_case("transparent") => Self::Transparent,
            // The attributes take digits without their mark.
            None if value.len() == 6 => from_digits(value).unwrap_or(Self::Unknown),
            None => Self::Unknown,
        }
    }

    /// Whether a text of this colour cannot be seen on `background`.
    pub(super) fn vanishes_on(self, background: Self) -> bool {
        match (self, background) {
            (Self::Rgb(text), Self::Rgb(behind)) => {
                text.iter().zip(behind).all(|(text, behind)| text.abs_diff(behind) <= MAX_DIFFERENCE)
            }
            (text, _) => text == Self::Transparent,
        }
    }
}

/// The colours that look white or are common in mail; of the others nobody makes a background for the same text.
const NAMED: [(&str, [u8; 3]); 24] = [
    ("white", [255, 255, 255]),
    ("snow", [255, 250, 250]),
    ("ivory", [255, 255, 240]),
    ("ghostwhite", [248, 248, 255]),
    ("floralwhite", [255, 250, 240]),
    ("mintcream", [245, 255, 250]),
    ("azure", [240, 255, 255]),
    ("whitesmoke", [245, 245, 245]),
    ("black", [0, 0, 0]),
    ("gray", [128, 128, 128]),
    ("grey", [128, 128, 128]),
    ("silver", [192, 192, 192]),
    ("lightgray", [211, 211, 211]),
    ("lightgrey", [211, 211, 211]),
    ("red", [255, 0, 0]),
    ("green", [0, 128, 0]),
    ("lime", [0, 255, 0]),
    ("blue", [0, 0, 255]),
    ("navy", [0, 0, 128]),
    ("yellow", [255, 255, 0]),
    ("orange", [255, 165, 0]),
    ("purple", [128, 0, 128]),
    ("teal", [0, 128, 128]),
    ("maroon", [128, 0, 0]),
];

fn from_digits(digits: &str) -> Option<Color> {
    let nibbles: Vec<u8> =
        digits.chars().map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok())).collect::<Option<_>>()?;
    let (channels, alpha) = match *nibbles {
        [r, g, b] => ([r * 17, g * 17, b * 17], 255),
        [r, g, b, a] => ([r * 17, g * 17, b * 17], a * 17),
        [r, s, g, h, b, c] => ([r << 4 | s, g << 4 | h, b << 4 | c], 255),
        [r, s, g, h, b, c, a, d] => ([r << 4 | s, g << 4 | h, b << 4 | c], a << 4 | d),
        _ => return None,
    };
    Some(with_alpha(channels, f32::from(alpha) / 255.0))
}

/// `rgb()` and `hsl()` in their old and new forms. Of `hsl()`, black and white are understood.
fn from_function(name: &str, arguments: &str) -> Color {
    let numbers: Option<Vec<(f32, bool)>> = arguments
        .split([',', ' ', '/'])
        .filter(|argument| !argument.is_empty())
        .map(|argument| {
            let digits = argument.trim_end_matches('%');
            digits.parse().ok().map(|number| (number, digits.len() < argument.len()))
        })
        .collect();
    let Some(numbers) = numbers.filter(|numbers| (3..=4).contains(&numbers.len())) else { return Color::Unknown };
    let alpha = numbers.get(3).map_or(1.0, |(number, is_percent)| if *is_percent { number / 100.0 } else { *number });
    // A cast of a float saturates.
    let channel = |at: usize| {
        let (number, is_percent) = numbers[at];
        (if is_percent { number * 2.55 } else { number }).round() as u8
    };
    match name.to_ascii_lowercase().as_str() {
        "rgb" | "rgba" => with_alpha([channel(0), channel(1), channel(2)], alpha),
        "hsl" | "hsla" if matches!(channel(2), 0 | 255) => with_alpha([channel(2); 3], alpha),
        "hsl" | "hsla" => with_alpha_of_unknown(alpha),
        _ => Color::Unknown,
    }
}

fn with_alpha(channels: [u8; 3], alpha: f32) -> Color {
    if alpha >= 1.0 { Color::Rgb(channels) } else { with_alpha_of_unknown(alpha) }
}

/// What is nearly transparent cannot be seen; what shines through has the colour of something else in it.
fn with_alpha_of_unknown(alpha: f32) -> Color {
    if alpha < 0.1 { Color::Transparent } else { Color::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_has_many_spellings() {
        for white in [
            "white",
            "WHITE",
            "#fff",
            "#FFFFFF",
            "#ffffffff",
            "ffffff",
            "rgb(255,255,255)",
            "rgb( 100% 100% 100% )",
            "rgba(255, 255, 255, 1)",
            "rgb(255 255 255 / 100%)",
            "hsl(0, 0%, 100%)",
            " #fff ",
            "#fefefe",
        ] {
            assert!(Color::parse(white).vanishes_on(Color::WHITE), "{white}");
            assert!(!Color::parse(white).vanishes_on(Color::BLACK), "{white}");
        }
    }

    #[test]
    fn what_is_transparent_is_seen_nowhere() {
        for clear in ["transparent", "rgba(0,0,0,0)", "#0000", "#ffffff00", "rgb(1 2 3 / 0%)", "hsla(9,9%,9%,0)"] {
            assert_eq!(Color::parse(clear), Color::Transparent, "{clear}");
            assert!(Color::parse(clear).vanishes_on(Color::Unknown), "{clear}");
        }
    }

    #[test]
    fn what_is_not_understood_is_visible() {
        for other in ["", "inherit", "var(--x)", "#ff", "#gggggg", "rgb(1,2)", "rgba(255,255,255,0.5)", "url(x)", "#é"]
        {
            assert_eq!(Color::parse(other), Color::Unknown, "{other}");
            assert!(!Color::parse(other).vanishes_on(Color::WHITE), "{other}");
        }
    }
}
