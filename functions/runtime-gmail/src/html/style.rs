//! What CSS says of an element, as far as it tells whether its text can be seen.

use std::borrow::Cow;

use super::color::Color;

/// Text of this size in pixels, or a smaller one, cannot be read; nor is there anything in a box of this size.
const MIN_SIZE: f32 = 1.0;

/// What lies this many pixels off its place is not on the page.
const OFF_SCREEN: f32 = -999.0;

/// Less than this share of its colour cannot be seen.
const MIN_OPACITY: f32 = 0.1;

/// A property by which a text can be hidden; each is declared or not, and hides or not.
#[derive(Clone, Copy)]
#[repr(u32)]
enum Property {
    Display,
    Visibility,
    FontSize,
    Opacity,
    MsoHide,
    Height,
    MaxHeight,
    Width,
    MaxWidth,
    /// What leaves the box is cut off.
    Overflow,
    /// The element stands where its offsets say, over whatever is there.
    Position,
    Left,
    Top,
    Right,
    Bottom,
    Indent,
    MarginLeft,
    MarginTop,
    Clip,
    Color,
    Background,
    /// A picture or a gradient lies behind the text.
    BackgroundImage,
}

impl Property {
    const fn bit(self) -> u32 {
        1 << self as u32
    }
}

/// The declarations about one element.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Style {
    declared: u32,
    important: u32,
    hiding: u32,
    color: Option<Color>,
    background: Option<Color>,
}

impl Style {
    /// Parses declarations: the value of a `style` attribute or what stands between a rule's braces.
    pub(super) fn parse(declarations: &str) -> Self {
        let mut style = Self::default();
        for declaration in split_declarations(&without_comments_and_escapes(declarations)) {
            if let Some((name, value)) = declaration.split_once(':') {
                style.add(name.trim(), value.trim());
            }
        }
        style
    }

    pub(super) fn is_empty(&self) -> bool {
        self.declared == 0
    }

    /// Declares the colour of the text, as the attributes of old HTML do.
    pub(super) fn set_color(&mut self, value: &str) {
        self.declare(Property::Color, false, false);
        self.color = Some(Color::parse(value));
    }

    /// Declares the colour behind the text.
    pub(super) fn set_background(&mut self, value: &str) {
        self.declare(Property::Background, false, false);
        self.background = Some(Color::parse(value));
    }

    /// Declares a picture behind the text.
    pub(super) fn set_background_image(&mut self) {
        self.declare(Property::BackgroundImage, true, false);
    }

    /// Declares that the element is not there.
    pub(super) fn set_hidden(&mut self) {
        self.declare(Property::Display, true, false);
    }

    /// Declares a size of the text that can be read.
    pub(super) fn set_readable_size(&mut self) {
        self.declare(Property::FontSize, false, false);
    }

    /// Adds the declarations of `other`, which outrank those here unless only these are important.
    pub(super) fn merge(&mut self, other: &Self) {
        let taken = other.declared & !(self.important & !other.important);
        let replace = |old: u32, new: u32| (old & !taken) | (new & taken);
        self.hiding = replace(self.hiding, other.hiding);
        self.important = replace(self.important, other.important);
        self.declared |= taken;
        if taken & Property::Color.bit() != 0 {
            self.color = other.color;
        }
        if taken & Property::Background.bit() != 0 {
            self.background = other.background;
        }
    }

    /// Whether the element and all within it are out of sight, whatever that declares.
    pub(super) fn removes(&self) -> bool {
        use Property::*;
        let has_size_of_nothing = self.hides(&[Height, MaxHeight, Width, MaxWidth]) && self.hides(&[Overflow]);
        let is_placed_off_screen = self.hides(&[Position]) && self.hides(&[Left, Top, Right, Bottom, Clip]);
        self.hides(&[Display, Opacity, MsoHide, Indent, MarginLeft, MarginTop])
            || has_size_of_nothing
            || is_placed_off_screen
    }

    /// Whether `visibility` hides the text; `None` if it is not declared, and so inherited.
    pub(super) fn is_invisible(&self) -> Option<bool> {
        self.declares(Property::Visibility).then(|| self.hides(&[Property::Visibility]))
    }

    /// Whether the text is too small to be read; `None` if its size is inherited.
    pub(super) fn is_tiny(&self) -> Option<bool> {
        self.declares(Property::FontSize).then(|| self.hides(&[Property::FontSize]))
    }

    /// The colour of the text; `None` if it is inherited.
    pub(super) fn color(&self) -> Option<Color> {
        self.color
    }

    /// The colour behind the text; `None` if what is behind the element is behind its text too.
    pub(super) fn background(&self) -> Option<Color> {
        match self.background {
            _ if self.hides(&[Property::BackgroundImage]) => Some(Color::Unknown),
            None | Some(Color::Transparent) => self.hides(&[Property::Position]).then_some(Color::Unknown),
            color => color,
        }
    }

    /// Whether anything is declared about what is behind the text.
    pub(super) fn declares_background(&self) -> bool {
        self.declares(Property::Background) || self.declares(Property::BackgroundImage)
    }

    fn declares(&self, property: Property) -> bool {
        self.declared & property.bit() != 0
    }

    fn hides(&self, properties: &[Property]) -> bool {
        properties.iter().any(|property| self.hiding & property.bit() != 0)
    }

    fn declare(&mut self, property: Property, hides: bool, is_important: bool) -> bool {
        let bit = property.bit();
        let is_outranked = self.important & bit != 0 && !is_important;
        if !is_outranked {
            self.declared |= bit;
            self.hiding = if hides { self.hiding | bit } else { self.hiding & !bit };
            self.important = if is_important { self.important | bit } else { self.important };
        }
        !is_outranked
    }

    fn add(&mut self, name: &str, value: &str) {
        let Some(property) = property(name) else { return };
        let (value, is_important) = without_important(value);
        // What inherits is as if it were not declared; `initial` hides nothing.
        if ["inherit", "unset", "revert", "revert-layer", ""].iter().any(|word| value.eq_ignore_ascii_case(word)) {
            return;
        }
        let is = |words: &[&str]| words.iter().any(|word| value.eq_ignore_ascii_case(word));
        let is_off_screen = || pixels(value).is_some_and(|pixels| pixels <= OFF_SCREEN);
        let hides = match property {
            Property::Display => is(&["none"]),
            Property::Visibility => is(&["hidden", "collapse"]),
            Property::FontSize => match font_size(name, value) {
                Some(pixels) => pixels <= MIN_SIZE,
                None => return,
            },
            Property::Opacity => number(value).is_some_and(|share| share < MIN_OPACITY),
            Property::MsoHide => is(&["all"]),
            Property::Height | Property::MaxHeight | Property::Width | Property::MaxWidth => {
                pixels(value).is_some_and(|pixels| pixels <= MIN_SIZE)
            }
            Property::Overflow => !is(&["visible", "initial"]),
            Property::Position => is(&["absolute", "fixed"]),
            Property::Left | Property::Top | Property::Right | Property::Bottom => is_off_screen(),
            Property::Indent | Property::MarginLeft | Property::MarginTop => is_off_screen(),
            Property::Clip => is_clip_of_nothing(value),
            Property::Color => {
                if self.declare(property, false, is_important) {
                    self.color = Some(Color::parse(value));
                }
                return;
            }
            Property::Background => {
                let has_image = has_image(value);
                if self.declare(property, false, is_important) {
                    self.background = Some(background_color(value));
                }
                if has_image || name.eq_ignore_ascii_case("background") {
                    self.declare(Property::BackgroundImage, has_image, is_important);
                }
                return;
            }
            Property::BackgroundImage => has_image(value),
        };
        self.declare(property, hides, is_important);
    }
}

fn property(name: &str) -> Option<Property> {
    const PROPERTIES: [(&str, Property); 27] = [
        ("display", Property::Display),
        ("color", Property::Color),
        ("font-size", Property::FontSize),
        ("font", Property::FontSize),
        ("background-color", Property::Background),
        ("background", Property::Background),
        ("width", Property::Width),
        ("height", Property::Height),
        ("max-width", Property::MaxWidth),
        ("max-height", Property::MaxHeight),
        ("overflow", Property::Overflow),
        ("overflow-x", Property::Overflow),
        ("overflow-y", Property::Overflow),
        ("visibility", Property::Visibility),
        ("opacity", Property::Opacity),
        ("mso-hide", Property::MsoHide),
        ("position", Property::Position),
        ("left", Property::Left),
        ("top", Property::Top),
        ("right", Property::Right),
        ("bottom", Property::Bottom),
        ("text-indent", Property::Indent),
        ("margin-left", Property::MarginLeft),
        ("margin-top", Property::MarginTop),
        ("clip", Property::Clip),
        ("background-image", Property::BackgroundImage),
        ("-webkit-text-fill-color", Property::Color),
    ];
    PROPERTIES.iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, property)| *property)
}

fn without_important(value: &str) -> (&str, bool) {
    match value.rsplit_once('!') {
        Some((value, word)) if word.trim().eq_ignore_ascii_case("important") => (value.trim_end(), true),
        _ => (value, false),
    }
}

/// A length in pixels; `None` if it depends on something else, unless it is zero.
fn pixels(value: &str) -> Option<f32> {
    let unit_at = value.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%').len();
    let (amount, unit) = value.split_at(unit_at);
    let amount: f32 = amount.trim().parse().ok()?;
    let factor = match unit.trim().to_ascii_lowercase().as_str() {
        "px" | "" => 1.0,
        "pt" => 4.0 / 3.0,
        "pc" | "rem" | "em" => 16.0,
        "in" => 96.0,
        "cm" => 37.8,
        "mm" => 3.78,
        "vw" | "vh" | "%" => 10.0,
        _ if amount == 0.0 => 1.0,
        _ => return None,
    };
    Some(amount * factor)
}

/// The size of a text in pixels, of `font-size` or of the shorthand; `None` if it follows the parent's.
fn font_size(name: &str, value: &str) -> Option<f32> {
    let size = if name.eq_ignore_ascii_case("font") {
        let is_size = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit() || c == '.');
        let is_weight = |word: &str| word.len() == 3 && word.bytes().all(|byte| byte.is_ascii_digit());
        let word = value.split_ascii_whitespace().find(|word| is_size(word) && !is_weight(word))?;
        word.split('/').next()?
    } else {
        value
    };
    let relative = ["em", "%", "smaller", "larger", "ex", "ch"];
    match pixels(size) {
        Some(0.0) => Some(0.0),
        _ if relative.iter().any(|unit| size.ends_with(unit)) && !size.ends_with("rem") => None,
        Some(pixels) => Some(pixels),
        // `medium` and the like, or a calculation.
        None => Some(16.0),
    }
}

fn number(value: &str) -> Option<f32> {
    match value.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f32>().ok().map(|percent| percent / 100.0),
        None => value.parse().ok(),
    }
}

/// `rect(0 0 0 0)` or one of single pixels, as pages hide texts that are only to be read aloud.
fn is_clip_of_nothing(value: &str) -> bool {
    let Some((_, edges)) = value.split_once('(') else { return false };
    let mut edges = edges.trim_end_matches(')').split([',', ' ']).filter(|edge| !edge.is_empty());
    edges.all(|edge| pixels(edge).is_some_and(|pixels| pixels <= MIN_SIZE))
}

fn has_image(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    value.contains("url(") || value.contains("gradient(") || value.contains("image-set(")
}

/// The colour in a `background`, which can hold much else.
fn background_color(value: &str) -> Color {
    let whole = Color::parse(value);
    if whole != Color::Unknown || !value.contains(' ') || value.contains('(') {
        return if value.eq_ignore_ascii_case("none") { Color::Transparent } else { whole };
    }
    value.split(' ').map(Color::parse).find(|color| *color != Color::Unknown).unwrap_or(Color::Unknown)
}

/// CSS reads `d\69splay/**/:none` as `display:none`.
pub(super) fn without_comments_and_escapes(css: &str) -> Cow<'_, str> {
    if !css.contains('\\') && !css.contains("/*") {
        return css.into();
    }
    let mut plain = String::with_capacity(css.len());
    let mut rest = css;
    while let Some(at) = rest.find(['\\', '/']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = comment.split_once("*/").map_or("", |(_, after)| after);
        } else if let Some(escaped) = rest.strip_prefix('\\') {
            let digits = escaped.bytes().take(6).take_while(u8::is_ascii_hexdigit).count();
            let code = u32::from_str_radix(&escaped[..digits], 16).ok().and_then(char::from_u32);
            plain.extend(code);
            rest = &escaped[digits..];
            rest = if digits > 0 { rest.strip_prefix([' ', '\n', '\t']).unwrap_or(rest) } else { rest };
        } else {
            plain.push('/');
            rest = &rest[1..];
        }
    }
    plain.push_str(rest);
    plain.into()
}

/// Splits at semicolons outside quotes and parentheses, such as those of a `data:` address.
fn split_declarations(css: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    let mut quote = None;
    css.split(move |c| {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ';') if depth == 0 => return true,
            (None, _) => {}
        }
        false
    })
}

#[cfg(test)]
#[path = "style_tests.rs"]
mod tests;
