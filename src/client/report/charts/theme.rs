//! Colours by name, each with its value on a light and on a dark page. Drawings refer to the names and the style sheet
//! defines them, so that one drawing serves both.

use std::io::{self, Write};

/// A colour's name in the style sheet, and its value on either page.
type Colour = (&'static str, Rgb, Rgb);
pub(crate) type Rgb = (u8, u8, u8);

/// Of text and lines. A drawing identifies them by their light values: no two are equal.
const COLOURS: [Colour; 15] = [
    ("page", (0xff, 0xff, 0xff), (0x15, 0x17, 0x1a)),
    ("panel", (0xf4, 0xf5, 0xf7), (0x20, 0x23, 0x28)),
    ("ink", (0x1b, 0x1d, 0x20), (0xe8, 0xea, 0xed)),
    ("muted", (0x55, 0x5a, 0x61), (0xb3, 0xb8, 0xbf)),
    ("grid", (0xd8, 0xdb, 0xdf), (0x3b, 0x40, 0x47)),
    ("link", (0x0b, 0x57, 0xa4), (0x8a, 0xbf, 0xff)),
    ("bad", (0xa8, 0x32, 0x05), (0xff, 0xa2, 0x76)),
    ("none", (0xe3, 0xe3, 0xe3), (0x44, 0x44, 0x44)),
    // A heat map's fields without a level.
    ("one-cpu", (0xdc, 0xe6, 0xf2), (0x2b, 0x3a, 0x4d)),
    // Lines, chosen for colour-blind readers: after Okabe and Ito, "Color Universal Design" (2008), darkened or
    // lightened to 3:1 against the page. Their dashes differ too.
    ("s1", (0x00, 0x72, 0xb2), (0x56, 0xb4, 0xe9)),
    ("s2", (0xd0, 0x52, 0x00), (0xff, 0x8f, 0x4d)),
    ("s3", (0x00, 0x7a, 0x5c), (0x35, 0xc9, 0x9e)),
    ("s4", (0xa0, 0x3c, 0x84), (0xe8, 0x9a, 0xcf)),
    ("s5", (0x8a, 0x66, 0x00), (0xf0, 0xc5, 0x3a)),
    ("s6", (0x33, 0x36, 0x3a), (0xf5, 0xf5, 0xf5)),
];
/// The most lines that a chart shows.
pub(crate) const LINES: usize = 6;
const FIRST_LINE: usize = COLOURS.len() - LINES;

/// A heat map's colours, fastest first: ColorBrewer's `OrRd`, which differ in lightness and so suit colour-blind readers.
pub(crate) const HEAT: [Rgb; 9] = [
    (0xff, 0xf7, 0xec),
    (0xfe, 0xe8, 0xc8),
    (0xfd, 0xd4, 0x9e),
    (0xfd, 0xbb, 0x84),
    (0xfc, 0x8d, 0x59),
    (0xef, 0x65, 0x48),
    (0xd7, 0x30, 0x1f),
    (0xb3, 0x00, 0x00),
    (0x7f, 0x00, 0x00),
];

/// From this level on, white is more legible on a heat map's colour than black.
pub(crate) const DARK: usize = 6;
const BLACK: Rgb = (0, 0, 0);
const WHITE: Rgb = (0xff, 0xff, 0xff);

/// The colour's value in a drawing, which [`named`] replaces by its name.
pub(crate) fn colour(name: &str) -> Rgb {
    COLOURS.iter().find(|(known, ..)| *known == name).map_or(BLACK, |(_, light, _)| *light)
}

/// The colour of the line with this number.
pub(crate) fn line(number: usize) -> Rgb {
    COLOURS[FIRST_LINE + number % LINES].1
}

/// The colour of a heat map's level.
pub(crate) fn heat(level: usize) -> Rgb {
    HEAT[level]
}

/// The colour of text on a heat map's level. Where it changes on a dark page, a value almost equal to black or white
/// identifies it.
pub(crate) fn heat_ink(level: usize) -> Rgb {
    let on = |level: usize| if level >= DARK { WHITE } else { BLACK };
    let light = on(level);
    match (light, on(HEAT.len() - 1 - level)) {
        (BLACK, WHITE) => (0, 0, 1),
        (WHITE, BLACK) => (0xff, 0xff, 0xfe),
        _ => (0, 1, 0),
    }
}

/// All colours by name, with their values on either page. On a dark page the heat map's are reversed, so that the
/// fastest is always nearest to the page.
fn all() -> Vec<(String, Rgb, Rgb)> {
    let mut all: Vec<(String, Rgb, Rgb)> =
        COLOURS.iter().map(|(name, light, dark)| ((*name).to_owned(), *light, *dark)).collect();
    all.extend((0..HEAT.len()).map(|level| (format!("h{level}"), HEAT[level], HEAT[HEAT.len() - 1 - level])));
    all.push(("hb".to_owned(), (0, 0, 1), WHITE));
    all.push(("hw".to_owned(), (0xff, 0xff, 0xfe), BLACK));
    all.push(("hm".to_owned(), (0, 1, 0), BLACK));
    all
}

/// Markup with the names of colours instead of their values.
pub(crate) fn named(mut svg: String) -> String {
    for (name, (red, green, blue), _) in all() {
        svg = svg.replace(&format!("\"#{red:02X}{green:02X}{blue:02X}\""), &format!("\"var(--{name})\""));
    }
    svg
}

/// The part of the style sheet that defines the colours: those of the dark page where the system asks for it or the
/// reader has chosen it, on a screen.
pub(crate) fn write_css(out: &mut dyn Write) -> io::Result<()> {
    let all = all();
    let mut block = |selector: &str, dark: bool| {
        write!(out, "{selector}{{color-scheme:{}", if dark { "dark" } else { "light" })?;
        for (name, light, other) in &all {
            let (red, green, blue) = if dark { other } else { light };
            write!(out, ";--{name}:#{red:02x}{green:02x}{blue:02x}")?;
        }
        write!(out, "}}")
    };
    block(":root", false)?;
    block("@media screen and (prefers-color-scheme:dark){:root:not([data-theme=light])", true)?;
    block("}@media screen{:root[data-theme=dark]", true)?;
    writeln!(out, "}}")
}

/// The style sheet of a drawing that stands alone: where the system asks for a dark page, the other values.
pub(crate) fn dark_rules() -> String {
    let rule = |(_, light, dark): (String, Rgb, Rgb)| {
        let hex = |(red, green, blue): Rgb| format!("#{red:02X}{green:02X}{blue:02X}");
        let (light, dark) = (hex(light), hex(dark));
        format!("[fill=\"{light}\"]{{fill:{dark}}}[stroke=\"{light}\"]{{stroke:{dark}}}\n")
    };
    let rules: String = all().into_iter().map(rule).collect();
    format!("@media (prefers-color-scheme:dark){{\n{rules}}}\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// WCAG 2's relative luminance.
    fn luminance((red, green, blue): Rgb) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.04045 { part / 12.92 } else { ((part + 0.055) / 1.055).powf(2.4) }
        };
        0.2126 * linear(red) + 0.7152 * linear(green) + 0.0722 * linear(blue)
    }

    fn contrast(a: Rgb, b: Rgb) -> f64 {
        let (a, b) = (luminance(a), luminance(b));
        (a.max(b) + 0.05) / (a.min(b) + 0.05)
    }

    #[test]
    fn everything_is_legible_on_both_pages() {
        let (page, panel) = (COLOURS[0], COLOURS[1]);
        for (name, light, dark) in COLOURS {
            let least = match name {
                "ink" | "muted" | "link" | "bad" => 4.5,
                name if name.starts_with('s') => 3.0,
                _ => continue,
            };
            for (one, other) in [(light, page.1), (dark, page.2), (light, panel.1), (dark, panel.2)] {
                assert!(contrast(one, other) >= least, "{name}: {}", contrast(one, other));
            }
        }
        for level in 0..HEAT.len() {
            let ink = all().into_iter().find(|(_, light, _)| *light == heat_ink(level)).unwrap();
            let ground = all().into_iter().find(|(_, light, _)| *light == heat(level)).unwrap();
            assert!(contrast(ink.1, ground.1) >= 4.5, "level {level}, light");
            assert!(contrast(ink.2, ground.2) >= 4.5, "level {level}, dark");
        }
    }

    #[test]
    fn every_colour_is_unique() {
        let values: BTreeSet<Rgb> = all().into_iter().map(|(_, light, _)| light).collect();
        assert_eq!(values.len(), all().len());
    }
}
